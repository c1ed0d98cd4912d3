#include "kernels/cpu/rotation_table.hpp"

#include <cmath>

#include "kernels/convert.hpp"
#include "kernels/cpu/aligned.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/rotation_check.hpp"

namespace longrope::kernels {
namespace {

constexpr std::int64_t kPositionsPerBlock = 256;

struct Pair {
  float cosine;
  float sine;
};

Pair exact_pair(std::int64_t position, double inv_freq, double factor) {
  const double angle = static_cast<double>(position) * inv_freq;
  return {static_cast<float>(std::cos(angle) * factor), static_cast<float>(std::sin(angle) * factor)};
}

Pair hf_pair(std::int64_t position, double inv_freq, double factor, bool bf16) {
  const float angle = static_cast<float>(position) * static_cast<float>(inv_freq);
  const float scale = static_cast<float>(factor);
  const Pair pair{std::cos(angle) * scale, std::sin(angle) * scale};
  return bf16 ? Pair{round_to_bf16(pair.cosine), round_to_bf16(pair.sine)} : pair;
}

}  // namespace

CpuRotationTable::CpuRotationTable(const RotationSpec& spec, std::int64_t tokens, Precision precision)
    : tokens_(tokens), pairs_(static_cast<std::int64_t>(spec.inv_freq.size())) {
  require_rotation(spec, tokens);
  const std::int64_t bytes = tokens_ * pairs_ * static_cast<std::int64_t>(sizeof(float));
  cosines_ = std::static_pointer_cast<float>(allocate_aligned(bytes));
  sines_ = std::static_pointer_cast<float>(allocate_aligned(bytes));
  parallel_rows(tokens_, kPositionsPerBlock, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t position = first; position < first + count; ++position) {
      const auto& frequencies = position < spec.start_tokens ? spec.leading_inv_freq : spec.inv_freq;
      for (std::int64_t i = 0; i < pairs_; ++i) {
        const double inv_freq = frequencies[static_cast<std::size_t>(i)];
        const Pair pair = spec.precision == RotationPrecision::exact
                              ? exact_pair(position, inv_freq, spec.attention_factor)
                              : hf_pair(position, inv_freq, spec.attention_factor, precision == Precision::bf16);
        cosines_.get()[position * pairs_ + i] = pair.cosine;
        sines_.get()[position * pairs_ + i] = pair.sine;
      }
    }
  });
}

}  // namespace longrope::kernels
