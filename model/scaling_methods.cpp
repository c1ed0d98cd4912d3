#include "model/scaling_methods.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace longrope::model {
namespace {

/// The pair index (a real number) that turns `rotations` times within L0 tokens.
double yarn_correction_dim(const RopeGeometry& g, double rotations) {
  return static_cast<double>(g.rotary_dim) *
         std::log(static_cast<double>(g.original_length) / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(g.theta));
}

}  // namespace

std::vector<double> pi_factors(const RopeGeometry& geometry, double scale) {
  return std::vector<double>(static_cast<std::size_t>(geometry.pairs()), scale);
}

std::vector<double> ntk_factors(const RopeGeometry& geometry, double scale) {
  std::vector<double> lambda(static_cast<std::size_t>(geometry.pairs()), 1.0);
  const double d = static_cast<double>(geometry.rotary_dim);
  for (std::size_t i = 1; i < lambda.size(); ++i) lambda[i] = std::pow(scale, 2.0 * static_cast<double>(i) / (d - 2.0));
  return lambda;
}

std::vector<double> yarn_factors(const RopeGeometry& geometry, double scale, const YarnOptions& options) {
  double low = yarn_correction_dim(geometry, options.beta_fast);
  double high = yarn_correction_dim(geometry, options.beta_slow);
  if (options.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(geometry.rotary_dim - 1));
  if (low == high) high += 0.001;  // as transformers: no division by zero
  std::vector<double> lambda(static_cast<std::size_t>(geometry.pairs()));
  for (std::size_t i = 0; i < lambda.size(); ++i) {
    const double r = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    lambda[i] = 1.0 / (r / scale + (1.0 - r));
  }
  return lambda;
}

double yarn_attention_factor(double scale, double mscale) {
  return scale > 1.0 ? 0.1 * mscale * std::log(scale) + 1.0 : 1.0;
}

double dynamic_ntk_scale(double factor, std::int64_t sequence_tokens, std::int64_t original_length) {
  if (sequence_tokens <= original_length) return 1.0;
  return factor * static_cast<double>(sequence_tokens) / static_cast<double>(original_length) - (factor - 1.0);
}

std::vector<double> llama3_factors(const RopeGeometry& geometry, double scale, const Llama3Options& options) {
  const double l0 = static_cast<double>(geometry.original_length);
  std::vector<double> lambda(static_cast<std::size_t>(geometry.pairs()));
  for (std::size_t i = 0; i < lambda.size(); ++i) {
    const double wavelength = 2.0 * std::numbers::pi / geometry.plain_frequency(static_cast<std::int64_t>(i));
    if (wavelength < l0 / options.high_freq_factor) {
      lambda[i] = 1.0;
    } else if (wavelength > l0 / options.low_freq_factor) {
      lambda[i] = scale;
    } else {
      const double k =
          (l0 / wavelength - options.low_freq_factor) / (options.high_freq_factor - options.low_freq_factor);
      lambda[i] = 1.0 / ((1.0 - k) / scale + k);
    }
  }
  return lambda;
}

}  // namespace longrope::model
