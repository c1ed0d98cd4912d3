// The SIMD inner loops over one row, chosen at run time for the processor.
#pragma once

#include <cstdint>

namespace longrope::kernels {

/// y = x / sqrt(mean(x^2) + epsilon) * weight; the sum of squares in double.
void rms_norm_row(const float* x, const float* weight, std::int64_t n, float epsilon, float* y);

/// y = gate / (1 + exp(-gate)) * up. Infinite or NaN gates give what the formula gives, without overflow in between.
void gated_silu_row(const float* gate, const float* up, std::int64_t n, float* y);

/// y = x rounded to bfloat16, to nearest, ties to even.
void round_row_to_bf16(const float* x, std::int64_t n, std::uint16_t* y);

/// The part of a softmax normaliser that one stretch of logits contributes.
struct LogitSum {
  float max = 0.0F;
  double sum = 0.0;  ///< of exp(logit - max); NaN if a logit is not finite
};

/// Precondition: n >= 1.
LogitSum logit_sum(const float* logits, std::int64_t n);

/// The largest of some logits and the lowest index that has it; index -1 if one is not finite.
struct LargestLogit {
  float value = 0.0F;
  std::int64_t index = -1;
};

/// Precondition: n >= 1.
LargestLogit largest_logit(const float* logits, std::int64_t n);

}  // namespace longrope::kernels
