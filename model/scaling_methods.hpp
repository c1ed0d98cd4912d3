// The published scaling formulas as rescale factors λ_i (divisors of w_i = theta^(-2i/d)) at a scale s = L/L0.
#pragma once

#include <cstdint>
#include <vector>

#include "model/rope_geometry.hpp"

namespace longrope::model {

/// Position interpolation: λ_i = s (Chen et al., arXiv 2306.15595).
std::vector<double> pi_factors(const RopeGeometry& geometry, double scale);

/// NTK-aware: λ_i = s^(2i/(d-2)), that is base theta * s^(d/(d-2)) (bloc97, 2023).
std::vector<double> ntk_factors(const RopeGeometry& geometry, double scale);

/// YaRN (arXiv 2309.00071): w_i/s * r_i + w_i * (1 - r_i), r_i = clip((i - low)/(high - low), 0, 1), the ramp's ends at
/// the pairs that turn beta_fast and beta_slow times within L0 tokens.
struct YarnOptions {
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;  ///< floor and ceil of the ramp's ends, as transformers and llama.cpp do
};
std::vector<double> yarn_factors(const RopeGeometry& geometry, double scale, const YarnOptions& options = {});

/// 0.1 ln s + 1, 1 if s <= 1; with mscale as transformers' get_mscale.
double yarn_attention_factor(double scale, double mscale = 1.0);

/// The scale dynamic NTK uses for a sequence of n tokens: factor*n/L0 - (factor - 1) for n > L0, else 1
/// (transformers' _compute_dynamic_ntk_parameters).
double dynamic_ntk_scale(double factor, std::int64_t sequence_tokens, std::int64_t original_length);

/// transformers' _compute_llama3_parameters.
struct Llama3Options {
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
};
std::vector<double> llama3_factors(const RopeGeometry& geometry, double scale, const Llama3Options& options = {});

}  // namespace longrope::model
