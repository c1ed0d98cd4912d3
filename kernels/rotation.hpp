// What the forward pass knows about RoPE: angles of every (position, pair). Every scaling method reduces to this.
// Pairs are (i, i + rotary_dim/2), the rotate_half convention of Hugging Face checkpoints.
#pragma once

#include <cstdint>
#include <vector>

namespace longrope::kernels {

/// How cos and sin are computed.
enum class RotationPrecision : std::uint8_t {
  exact,  ///< angle formed and reduced in double, cos and sin rounded once to float32
  hf,     ///< as transformers: float32 angle position * inv_freq, cos and sin cast to the activation type
};

/// Frequencies of one candidate.
/// Shapes: inv_freq and leading_inv_freq [rotary_dim/2], radians per token.
struct RotationSpec {
  std::vector<double> inv_freq;  ///< for positions >= start_tokens
  std::vector<double>
      leading_inv_freq;  ///< for positions < start_tokens (LongRoPE eq. 3); may be empty if start_tokens is 0
  std::int64_t start_tokens = 0;
  double attention_factor = 1.0;  ///< multiplies cos and sin
  RotationPrecision precision = RotationPrecision::exact;
};

}  // namespace longrope::kernels
