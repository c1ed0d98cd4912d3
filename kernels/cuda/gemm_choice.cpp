#include "kernels/cuda/gemm_choice.hpp"

namespace longrope::kernels::cuda {

std::optional<GemmChoice> choose_gemm(std::span<const GemmCandidate> candidates,
                                      const std::function<bool(std::size_t)>& accepts,
                                      const std::function<bool(std::size_t)>& agree) {
  std::optional<std::size_t> accepted;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (!accepts(i)) continue;
    if (!accepted) accepted = i;
    if (!candidates[i].splits_k() && agree(i)) return GemmChoice{i, true};
  }
  if (candidates.empty()) return std::nullopt;
  return GemmChoice{accepted.value_or(0), false};
}

std::uint32_t row_alignment(const void* first_row, std::int64_t pitch_bytes) {
  const auto bits = reinterpret_cast<std::uintptr_t>(first_row) | static_cast<std::uintptr_t>(pitch_bytes) | 256U;
  return static_cast<std::uint32_t>(bits & (~bits + 1U));
}

}  // namespace longrope::kernels::cuda
