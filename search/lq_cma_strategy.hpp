// `lq-cma`: CMA-ES over log factors from the YaRN curve, in full dimension, of whose samples only those are scored that
// a quadratic surrogate needs (N. Hansen, "A global surrogate assisted CMA-ES", GECCO 2019): a few at a time, the most
// promising first, until the surrogate ranks what was scored as the objective does; the others get its values.
#pragma once

#include "search/cma_es.hpp"
#include "search/generational_strategy.hpp"
#include "search/log_factors.hpp"

namespace longrope::search {

class LqCmaStrategy final : public GenerationalStrategy {
 public:
  /// Candidates of a generation: part of an iteration of CMA-ES.
  static constexpr std::int64_t kBatch = 3;
  /// Rank correlation from which the surrogate is trusted.
  static constexpr double kTrusted = 0.85;

  LqCmaStrategy(const Space& space, const StrategyOptions& options);
  std::string name() const override { return "lq-cma"; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override;

 private:
  /// Takes in the results of generation `seen_` and, when the surrogate is trusted, ends the iteration.
  void advance(std::span<const Individual> told);
  void start_iteration();
  std::vector<std::size_t> choose() const;
  double cost(const Individual& individual, const Eigen::VectorXd& free) const;

  LogFactors factors_;
  CmaEs cma_;
  std::int32_t seen_ = 0, iteration_ = 0;
  std::vector<Eigen::VectorXd> samples_;  ///< of this iteration
  std::vector<double> costs_;             ///< of the samples; NaN: bad
  std::vector<bool> scored_;
  std::vector<std::size_t> asked_;        ///< samples of generation seen_
  std::vector<Eigen::VectorXd> archive_;  ///< points scored with a finite cost
  std::vector<double> archive_costs_;
};

}  // namespace longrope::search
