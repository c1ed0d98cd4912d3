// `auto`, the default: a small design in the parametric families, then a Gaussian process over all log factors, whose
// kernel knows that neighbouring pairs act alike, proposes a few candidates a generation within a trust region.
// Everything is a function of what was told: nothing has to be saved.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "search/auto_tuning.hpp"
#include "search/gaussian_process.hpp"
#include "search/generational_strategy.hpp"
#include "search/log_factors.hpp"

namespace longrope::search {

class AutoStrategy final : public GenerationalStrategy {
 public:
  /// Points the Gaussian process is conditioned on at most: the best and the latest.
  static constexpr std::size_t kData = 150;

  AutoStrategy(const Space& space, const StrategyOptions& options, AutoTuning tuning = {});
  std::string name() const override { return "auto"; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override;

 private:
  struct Data {
    Eigen::MatrixXd points;  ///< [n, dimension]
    Eigen::VectorXd values;  ///< [n], scalarised, compressed
    Eigen::VectorXd best;    ///< the incumbent
    std::int64_t best_position = -1;
  };

  std::vector<Proposal> design() const;
  std::vector<Proposal> family_generation(std::int32_t generation, const Data& data) const;
  std::vector<Proposal> model_generation(std::int32_t generation, std::span<const Individual> told,
                                         const Data& data) const;
  std::vector<Proposal> start_token_generation(std::span<const Individual> told) const;

  /// Log objectives under the weights of `generation`; NaN: bad.
  std::vector<double> values_of(std::int32_t generation, std::span<const Individual> told) const;
  Data data_of(std::int32_t generation, std::span<const Individual> told) const;
  double trust_radius(std::span<const Individual> told, std::int32_t generation) const;
  void fit_hyper(std::int32_t generation, std::span<const Individual> told);

  /// Log factors of a member of a family: its parameters as shares of the ranges that are searched.
  struct FamilyPoint {
    bool yarn = false;  ///< else a ramp with a step
    std::array<double, 5> u{};
  };
  Eigen::VectorXd family_member(const FamilyPoint& at) const;

  AutoTuning tuning_;
  LogFactors factors_;
  std::vector<std::int64_t> starts_;  ///< candidates told before each generation, and the total at the end
  std::int64_t main_budget_ = 0;      ///< candidates before those kept for start tokens
  GpHyper hyper_ = GpHyper::prior_mode();
  std::int32_t fitted_to_ = 0;  ///< generation whose data hyper_ was last considered for
  std::int64_t fitted_count_ = 0;
};

}  // namespace longrope::search
