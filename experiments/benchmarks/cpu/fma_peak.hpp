// The ceiling of one core, measured: multiply-adds on registers alone.
#pragma once

#include <string>

namespace longrope::bench {

/// One measured rate and the instruction that reached it.
struct Peak {
  double flops_per_s = 0.0;  ///< 0: the processor has no such instruction
  std::string instruction;
};

/// Fused multiply-adds of float32, in the widest registers that the processor has; avx2: as on one that has no wider.
Peak measure_f32_peak(bool avx2);
/// Products of bfloat16 pairs added in float32 (AVX-512 BF16).
Peak measure_bf16_peak();

}  // namespace longrope::bench
