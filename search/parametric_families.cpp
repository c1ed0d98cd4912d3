#include "search/parametric_families.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace longrope::search {
namespace {

/// The pair, a real number, that turns `turns` times within L0.
double pair_of(const Space& space, double turns) {
  const double length = static_cast<double>(space.geometry.original_length);
  return static_cast<double>(space.geometry.pairs()) * std::log(length / (2.0 * std::numbers::pi * turns)) /
         std::log(space.geometry.theta);
}

}  // namespace

Eigen::VectorXd yarn_family(const Space& space, const YarnFamily& parameters) {
  const Eigen::Index pairs = space.geometry.pairs();
  const double low = pair_of(space, parameters.beta_fast);
  const double high = std::max(pair_of(space, parameters.beta_slow), low + 0.1);
  const double cut = parameters.cut > 0.0 ? pair_of(space, parameters.cut) : static_cast<double>(pairs);
  const double scale = parameters.scale_ratio * space.scale;
  Eigen::VectorXd log_factors(pairs);
  for (Eigen::Index i = 0; i < pairs; ++i) {
    const double at = static_cast<double>(i);
    const double ramp = at > cut ? 1.0 : std::pow(std::clamp((at - low) / (high - low), 0.0, 1.0), parameters.exponent);
    log_factors[i] = -std::log(ramp / scale + (1.0 - ramp));
  }
  return log_factors;
}

Eigen::VectorXd ramp_step_family(const Space& space, const RampStepFamily& parameters) {
  const Eigen::Index pairs = space.geometry.pairs();
  const double low = pair_of(space, parameters.start);
  const double high = std::max(pair_of(space, parameters.step), low + 0.1);
  const double before = parameters.level * std::log(space.scale);
  const double after = std::log(parameters.top_ratio * space.scale);
  Eigen::VectorXd log_factors(pairs);
  for (Eigen::Index i = 0; i < pairs; ++i) {
    const double pair = static_cast<double>(i);
    const double ramp = before * std::pow(std::clamp((pair - low) / (high - low), 0.0, 1.0), parameters.exponent);
    const double share = std::clamp(pair - high + 0.5, 0.0, 1.0);
    log_factors[i] = ramp + share * (after - ramp);
  }
  return log_factors;
}

Eigen::VectorXd longrope2_family(const Space& space, double scale_ratio, std::int64_t critical_pair) {
  const Eigen::Index pairs = space.geometry.pairs();
  Eigen::VectorXd log_factors(pairs);
  for (Eigen::Index i = 0; i < pairs; ++i) {
    const double share = i >= critical_pair ? 1.0 : static_cast<double>(i) / static_cast<double>(critical_pair);
    log_factors[i] = std::log(scale_ratio * space.scale) * share;
  }
  return log_factors;
}

}  // namespace longrope::search
