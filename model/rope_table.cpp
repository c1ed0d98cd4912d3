#include "model/rope_table.hpp"

#include <fmt/core.h>

#include <cmath>

#include "kernels/error.hpp"

namespace longrope::model {

RopeTable RopeTable::from_factors(const RopeGeometry& geometry, const std::vector<double>& factors,
                                  double attention_factor, std::int64_t start_tokens) {
  if (static_cast<std::int64_t>(factors.size()) != geometry.pairs()) {
    throw InputError(fmt::format("[rope] a table needs {} factors (rotary_dim {} / 2) but got {}", geometry.pairs(),
                                 geometry.rotary_dim, factors.size()));
  }
  if (!(std::isfinite(attention_factor) && attention_factor > 0.0)) {
    throw InputError(fmt::format("[rope] attention_factor must be finite and > 0 but got {}", attention_factor));
  }
  if (start_tokens < 0) {
    throw InputError(fmt::format("[rope] start_tokens must be >= 0 but got {}", start_tokens));
  }
  RopeTable table;
  table.factors = factors;
  table.attention_factor = attention_factor;
  table.start_tokens = start_tokens;
  table.inv_freq.reserve(factors.size());
  for (std::size_t i = 0; i < factors.size(); ++i) {
    if (!(std::isfinite(factors[i]) && factors[i] > 0.0)) {
      throw InputError(fmt::format("[rope] factor {} must be finite and > 0 but got {}", i, factors[i]));
    }
    table.inv_freq.push_back(geometry.plain_frequency(static_cast<std::int64_t>(i)) / factors[i]);
  }
  return table;
}

kernels::RotationSpec RopeTable::rotation(const RopeGeometry& geometry, kernels::RotationPrecision precision) const {
  kernels::RotationSpec spec;
  spec.inv_freq = inv_freq;
  spec.start_tokens = start_tokens;
  spec.attention_factor = attention_factor;
  spec.precision = precision;
  if (start_tokens > 0) {
    for (std::int64_t i = 0; i < geometry.pairs(); ++i) spec.leading_inv_freq.push_back(geometry.plain_frequency(i));
  }
  return spec;
}

double longrope_attention_factor(double scale, std::int64_t original_length) {
  if (!(scale > 1.0)) return 1.0;
  return std::sqrt(1.0 + std::log(scale) / std::log(static_cast<double>(original_length)));
}

}  // namespace longrope::model
