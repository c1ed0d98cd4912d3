// Plain CMA-ES over log factors from the YaRN curve: `cma` in full dimension, `knots` over a piecewise-linear
// correction of YaRN by 8 knots. Points outside the space are repaired before they are scored, and their distance to
// the repaired one is a penalty in the ranking. Several objectives: a fixed, equal weighting of their logarithms.
#pragma once

#include <optional>

#include "search/cma_es.hpp"
#include "search/generational_strategy.hpp"
#include "search/log_factors.hpp"

namespace longrope::search {

class CmaStrategy final : public GenerationalStrategy {
 public:
  /// knots 0: full dimension.
  CmaStrategy(std::string name, const Space& space, const StrategyOptions& options, Eigen::Index knots);
  std::string name() const override { return name_; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override;

 private:
  std::vector<Eigen::VectorXd> sample(std::int32_t generation) const;
  Eigen::VectorXd point(const Eigen::VectorXd& coordinates) const;

  std::string name_;
  LogFactors factors_;
  Eigen::MatrixXd basis_;  ///< [dimension, coordinates]
  Eigen::VectorXd start_;
  CmaEs cma_;
  std::int32_t updated_ = 0;  ///< generations that cma_ has seen
};

}  // namespace longrope::search
