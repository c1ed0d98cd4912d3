#include <algorithm>

#include "kernels/check.hpp"
#include "kernels/cuda/weights.hpp"
#include "kernels/rotation_check.hpp"

namespace longrope::kernels::cuda {

CudaRotationTable::CudaRotationTable(const RotationSpec& spec, std::int64_t tokens) : tokens_(tokens) {
  require_rotation(spec, tokens);
  const auto pairs = static_cast<std::int64_t>(spec.inv_freq.size());
  require(pairs <= RotationFrequencies::kMaxPairs, "rotation", "inv_freq must have at most 128 elements", pairs);
  std::copy(spec.inv_freq.begin(), spec.inv_freq.end(), frequencies_.inv_freq);
  if (spec.start_tokens > 0) {
    std::copy(spec.leading_inv_freq.begin(), spec.leading_inv_freq.end(), frequencies_.leading_inv_freq);
  }
  frequencies_.start_tokens = spec.start_tokens;
  frequencies_.pairs = pairs;
  frequencies_.attention_factor = spec.attention_factor;
  frequencies_.hf = spec.precision == RotationPrecision::hf;
}

}  // namespace longrope::kernels::cuda
