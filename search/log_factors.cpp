#include "search/log_factors.hpp"

#include <algorithm>
#include <cmath>

#include "search/isotonic.hpp"

namespace longrope::search {

LogFactors::LogFactors(const Space& space)
    : space_(space),
      pairs_(space.geometry.pairs()),
      dimension_(space.geometry.pairs() + (space.search_attention_factor ? 1 : 0)) {}

double LogFactors::log_upper() const { return std::log(space_.upper(pairs_ - 1)); }

Eigen::VectorXd LogFactors::repair(const Eigen::VectorXd& point, std::int64_t critical) const {
  Eigen::VectorXd out = point;
  if (space_.monotonicity == Monotonicity::monotone) {
    const std::vector<double> ordered = isotonic({point.data(), static_cast<std::size_t>(pairs_)});
    std::copy(ordered.begin(), ordered.end(), out.data());
  } else if (space_.monotonicity == Monotonicity::tolerant) {
    std::vector<double> shifted(static_cast<std::size_t>(pairs_));
    for (Eigen::Index i = 0; i < pairs_; ++i)
      shifted[static_cast<std::size_t>(i)] = std::exp(point[i]) + space_.monotone_tolerance * static_cast<double>(i);
    const std::vector<double> ordered = isotonic(shifted);
    for (Eigen::Index i = 0; i < pairs_; ++i) {
      const double factor = ordered[static_cast<std::size_t>(i)] - space_.monotone_tolerance * static_cast<double>(i);
      out[i] = factor > 0.0 ? std::log(factor) : std::log(space_.lower(i, critical));
    }
  }
  for (Eigen::Index i = 0; i < pairs_; ++i)
    out[i] = std::clamp(out[i], std::log(space_.lower(i, critical)), std::log(space_.upper(i, critical)));
  if (dimension_ > pairs_) {
    out[pairs_] =
        std::clamp(out[pairs_], std::log(space_.attention_factor_lower), std::log(space_.attention_factor_upper));
  }
  return out;
}

Eigen::VectorXd LogFactors::repair(const Eigen::VectorXd& point) const {
  if (space_.bounds != FactorBounds::longrope2 || space_.critical != CriticalDimension::searched)
    return repair(point, space_.critical_pair_used());
  Eigen::VectorXd nearest;
  double least = 0.0;
  for (std::int64_t critical = space_.critical_pair_of(1.0); critical >= space_.critical_pair_of(10.0); --critical) {
    Eigen::VectorXd candidate = repair(point, critical);
    const double distance = (candidate - point).squaredNorm();
    if (nearest.size() == 0 || distance < least) {
      nearest = std::move(candidate);
      least = distance;
    }
  }
  return nearest;
}

Proposal LogFactors::proposal(const Eigen::VectorXd& repaired) const {
  Proposal proposal;
  proposal.start_tokens = space_.search_start_tokens ? 0 : space_.start_tokens;
  proposal.factors.resize(static_cast<std::size_t>(pairs_));
  double before = 0.0;
  for (Eigen::Index i = 0; i < pairs_; ++i) {
    // exp(log x) may be a rounding error beyond x: back into the widest bounds of the pair, and into order.
    double low = space_.lower(i), high = space_.upper(i);
    if (space_.bounds == FactorBounds::longrope2 && space_.critical == CriticalDimension::searched) {
      low = repaired[i] < std::log(space_.scale) - 1e-12 ? 1.0 : low;
      high = repaired[i] > std::log(space_.scale) + 1e-12 ? 2.0 * space_.scale : high;
    }
    double factor = std::clamp(std::exp(repaired[i]), low, high);
    if (std::abs(factor - space_.scale) <= 1e-12 * space_.scale) factor = std::clamp(space_.scale, low, high);
    if (space_.monotonicity == Monotonicity::monotone) factor = std::max(factor, before);
    if (space_.monotonicity == Monotonicity::tolerant) factor = std::max(factor, before - space_.monotone_tolerance);
    proposal.factors[static_cast<std::size_t>(i)] = before = factor;
  }
  if (dimension_ > pairs_) {
    proposal.attention_factor =
        std::clamp(std::exp(repaired[pairs_]), space_.attention_factor_lower, space_.attention_factor_upper);
  }
  return proposal;
}

Eigen::VectorXd LogFactors::point(const std::vector<double>& factors) const {
  Eigen::VectorXd out(dimension_);
  for (Eigen::Index i = 0; i < pairs_; ++i) out[i] = std::log(factors[static_cast<std::size_t>(i)]);
  if (dimension_ > pairs_) out[pairs_] = std::log(space_.attention_factor);
  return out;
}

Eigen::VectorXd LogFactors::point(const Individual& individual) const {
  Eigen::VectorXd out = point(individual.factors);
  if (dimension_ > pairs_) out[pairs_] = std::log(individual.attention_factor);
  return out;
}

}  // namespace longrope::search
