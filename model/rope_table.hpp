// RopeTable: the only thing the forward pass knows about scaling. Every scaling method reduces to one.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/rotation.hpp"
#include "model/rope_geometry.hpp"

namespace longrope::model {

struct RopeTable {
  std::vector<double> factors;    ///< λ [d/2], as given: what is stored and exported, to the bit
  std::vector<double> inv_freq;   ///< w_i / λ_i [d/2], radians per token: what the forward pass uses
  double attention_factor = 1.0;  ///< multiplies cos and sin
  std::int64_t start_tokens = 0;  ///< n-hat: this many leading positions keep the plain frequencies

  /// inv_freq_i = w_i / factors_i. Throws InputError unless factors has d/2 finite values > 0, the attention factor is
  /// finite and > 0, and start_tokens >= 0.
  static RopeTable from_factors(const RopeGeometry& geometry, const std::vector<double>& factors,
                                double attention_factor, std::int64_t start_tokens);
  /// What the backend needs to make its cos and sin.
  kernels::RotationSpec rotation(const RopeGeometry& geometry, kernels::RotationPrecision precision) const;
};

/// sqrt(1 + ln s / ln L0), 1 if s <= 1: LongRoPE's attention factor ("su" in microsoft/LongRoPE; transformers'
/// _compute_longrope_parameters).
double longrope_attention_factor(double scale, std::int64_t original_length);

}  // namespace longrope::model
