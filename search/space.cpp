#include "search/space.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "kernels/error.hpp"

namespace longrope::search {
namespace {

void check_factors(const char* name, const std::vector<double>& factors, std::int64_t pairs) {
  if (std::cmp_not_equal(factors.size(), pairs)) {
    throw InputError(
        fmt::format("[search] {} factors must be {} (rotary_dim / 2) but are {}", name, pairs, factors.size()));
  }
  for (const double factor : factors) {
    if (!(std::isfinite(factor) && factor > 0.0)) {
      throw InputError(fmt::format("[search] {} factors must be finite and positive but one is {}", name, factor));
    }
  }
}

/// `quotient` came from multiplying and dividing by the same number: off by an ulp or two. Values of the 0.01 grid and
/// float32 numbers, which is what searched tables mostly hold, are known again; equal ones stay equal.
double without_rounding_error(double quotient) {
  const double nearby[] = {std::round(quotient * 100.0) / 100.0, static_cast<double>(static_cast<float>(quotient))};
  for (const double value : nearby) {
    if (std::fabs(quotient - value) <= 2.0 * std::numeric_limits<double>::epsilon() * value) return value;
  }
  return quotient;
}

}  // namespace

void Space::validate() const {
  const std::int64_t pairs = geometry.pairs();
  if (!(pairs >= 1)) {
    throw InputError(fmt::format("[search] rotary_dim must be at least 2 but is {}", geometry.rotary_dim));
  }
  if (!(std::isfinite(scale) && scale >= 1.0 && scale <= 1e6)) {
    throw InputError(fmt::format("[search] the scale must be from 1 to 1e6 but is {}", scale));
  }
  check_factors("pi", pi_factors, pairs);
  check_factors("ntk", ntk_factors, pairs);
  check_factors("yarn", yarn_factors, pairs);
  if (!base_factors.empty()) check_factors("base", base_factors, pairs);
  if (!(std::isfinite(monotone_tolerance) && monotone_tolerance >= 0.0)) {
    throw InputError(
        fmt::format("[search] the monotone tolerance must be finite and not negative but is {}", monotone_tolerance));
  }
  if (critical == CriticalDimension::fixed && !(critical_pair >= 0 && critical_pair <= pairs)) {
    throw InputError(
        fmt::format("[search] the critical dimension must be from 0 to {} but is {}", pairs, critical_pair));
  }
  if (!(std::isfinite(attention_factor) && attention_factor > 0.0)) {
    throw InputError(
        fmt::format("[search] the attention factor must be finite and positive but is {}", attention_factor));
  }
  if (search_attention_factor && !(attention_factor_lower > 0.0 && attention_factor_lower <= attention_factor &&
                                   attention_factor <= attention_factor_upper && attention_factor_upper <= 100.0)) {
    throw InputError(fmt::format("[search] the attention factor must lie in its bounds but {} is not in [{}, {}]",
                                 attention_factor, attention_factor_lower, attention_factor_upper));
  }
  if (start_tokens < 0) {
    throw InputError(fmt::format("[search] start_tokens must not be negative but is {}", start_tokens));
  }
}

std::int64_t Space::critical_pair_of(double periods) const {
  const auto pairs = static_cast<double>(geometry.pairs());
  const double length = static_cast<double>(geometry.original_length);
  const double pair = pairs * std::log(length / (2.0 * std::numbers::pi * periods)) / std::log(geometry.theta);
  return static_cast<std::int64_t>(std::clamp(std::ceil(pair), 0.0, pairs));
}

std::int64_t Space::critical_pair_used() const {
  return critical == CriticalDimension::fixed ? critical_pair : critical_pair_of(1.0);
}

double Space::lower(std::int64_t pair, std::int64_t critical_at) const {
  return bounds == FactorBounds::longrope2 && pair >= critical_at ? scale : 1.0;
}

double Space::upper(std::int64_t pair, std::int64_t critical_at) const {
  if (bounds == FactorBounds::longrope) return 1.25 * scale;
  return pair >= critical_at ? 2.0 * scale : scale;
}

std::vector<double> Space::absolute(const std::vector<double>& factors) const {
  if (base_factors.empty()) return factors;
  std::vector<double> out(factors.size());
  std::transform(factors.begin(), factors.end(), base_factors.begin(), out.begin(), std::multiplies<>());
  return out;
}

std::vector<double> Space::relative(const std::vector<double>& absolute_factors) const {
  if (base_factors.empty()) return absolute_factors;
  std::vector<double> out(absolute_factors.size());
  std::transform(absolute_factors.begin(), absolute_factors.end(), base_factors.begin(), out.begin(),
                 [](double factor, double base) { return without_rounding_error(factor / base); });
  return out;
}

}  // namespace longrope::search
