// The points our strategies move in: log λ of every pair, relative to the space's base, and log of the attention factor
// where that is searched. Every point has a nearest one that the space allows.
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "search/generational_strategy.hpp"
#include "search/space.hpp"

namespace longrope::search {

/// The first step of CMA-ES among such points, in log λ.
inline constexpr double kStepSize = 0.15;
/// Of the squared distance to the repaired point, in log perplexity.
inline constexpr double kPenalty = 0.02;

class LogFactors {
 public:
  /// Keeps a copy of `space`, which must be valid.
  explicit LogFactors(const Space& space);

  const Space& space() const { return space_; }
  Eigen::Index pairs() const { return pairs_; }
  /// pairs(), and one more when the attention factor is searched: the last coordinate.
  Eigen::Index dimension() const { return dimension_; }
  /// log of the largest factor the bounds allow to any pair.
  double log_upper() const;

  /// A point the space allows, close to `point`: isotonic regression (in log λ; for Space::monotone_tolerance, of
  /// λ_i + i tolerance), then the bounds, which keep the order because they do not decrease. Where the critical
  /// dimension is searched, the one that moves the point least. `point`: [dimension()], finite.
  Eigen::VectorXd repair(const Eigen::VectorXd& point) const;

  /// The proposal of a repaired point; bounds and order hold exactly, in λ. Origin and parents are the caller's.
  Proposal proposal(const Eigen::VectorXd& repaired) const;

  /// The point of an individual.
  Eigen::VectorXd point(const Individual& individual) const;
  /// The point of relative factors [pairs()] with the space's attention factor.
  Eigen::VectorXd point(const std::vector<double>& factors) const;

 private:
  Eigen::VectorXd repair(const Eigen::VectorXd& point, std::int64_t critical) const;

  Space space_;
  Eigen::Index pairs_, dimension_;
};

}  // namespace longrope::search
