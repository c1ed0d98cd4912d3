#include "search/auto_strategy.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "search/nan.hpp"
#include "search/ordering.hpp"
#include "search/parametric_families.hpp"
#include "search/scalarisation.hpp"
#include "search/surrogate_step.hpp"

namespace longrope::search {

AutoStrategy::AutoStrategy(const Space& space, const StrategyOptions& options, AutoTuning tuning)
    : GenerationalStrategy(space, options), tuning_(std::move(tuning)), factors_(this->space()) {
  const std::int64_t budget = std::max<std::int64_t>(options.budget, 1);
  const std::int64_t start_tokens =
      space.search_start_tokens
          ? std::min<std::int64_t>(static_cast<std::int64_t>(std::size(kPaperStartTokens)) - 1, budget / 4)
          : 0;
  main_budget_ = start_tokens > 0 ? budget - start_tokens : most_candidates();
  starts_.push_back(0);
  auto size = static_cast<std::int64_t>(design().size());
  for (std::int32_t generation = 1; starts_.back() < main_budget_; ++generation) {
    starts_.push_back(start_tokens > 0 ? std::min(starts_.back() + size, main_budget_) : starts_.back() + size);
    size = generation <= tuning_.family_generations ? tuning_.family_batch : tuning_.batch;
  }
  if (start_tokens > 0) starts_.push_back(budget);
}

std::int64_t AutoStrategy::told_before(std::int32_t generation) const {
  return starts_[std::min(static_cast<std::size_t>(std::max(generation, 0)), starts_.size() - 1)];
}

std::vector<double> AutoStrategy::values_of(std::int32_t generation, std::span<const Individual> told) const {
  return scalarise(told, weights_of_generation(generation, options().objectives));
}

AutoStrategy::Data AutoStrategy::data_of(std::int32_t generation, std::span<const Individual> told) const {
  const std::vector<double> values = values_of(generation, told);
  Data data;
  double best = kNan, worst = kNan;
  for (std::size_t i = 0; i < told.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    if (!told[i].raced_out && less_nan_last(values[i], best)) {
      best = values[i];
      data.best_position = static_cast<std::int64_t>(i);
    }
    if (!(values[i] <= worst)) worst = values[i];
  }
  if (data.best_position < 0) return data;
  data.best = factors_.repair(factors_.point(told[static_cast<std::size_t>(data.best_position)]));

  std::vector<std::size_t> chosen(told.size());
  std::iota(chosen.begin(), chosen.end(), std::size_t{0});
  if (chosen.size() > kData) {
    const auto recent = static_cast<std::ptrdiff_t>(kData / 4);
    std::stable_sort(chosen.begin(), chosen.end() - recent,
                     [&](std::size_t a, std::size_t b) { return less_nan_last(values[a], values[b]); });
    chosen.erase(chosen.begin() + static_cast<std::ptrdiff_t>(kData) - recent, chosen.end() - recent);
    std::sort(chosen.begin(), chosen.end());
  }
  data.points.resize(static_cast<Eigen::Index>(chosen.size()), factors_.dimension());
  data.values.resize(static_cast<Eigen::Index>(chosen.size()));
  for (std::size_t k = 0; k < chosen.size(); ++k) {
    const auto row = static_cast<Eigen::Index>(k);
    // A bad candidate is as bad as the worst; one that was raced out is not better than the elite.
    double value = values[chosen[k]];
    if (!std::isfinite(value)) value = worst;
    value = std::max(value, best);
    data.points.row(row) = factors_.point(told[chosen[k]]).transpose();
    data.values[row] = best + tuning_.compression * std::log1p((value - best) / tuning_.compression);
  }
  return data;
}

double AutoStrategy::trust_radius(std::span<const Individual> told, std::int32_t generation) const {
  double radius = tuning_.first_radius;
  const std::vector<double> values = values_of(generation, told);
  double best = kNan;
  for (std::int32_t g = 0; g < generation; ++g) {
    const double before = best;
    for (std::int64_t i = told_before(g); i < told_before(g + 1); ++i) {
      const auto k = static_cast<std::size_t>(i);
      if (!told[k].raced_out && less_nan_last(values[k], best)) best = values[k];
    }
    if (g <= tuning_.family_generations) continue;
    radius = best < before - tuning_.success ? std::min(radius * tuning_.grow, tuning_.largest_radius)
                                             : radius * tuning_.shrink;
    if (radius < tuning_.smallest_radius) radius = tuning_.first_radius;
  }
  return radius;
}

void AutoStrategy::fit_hyper(std::int32_t generation, std::span<const Individual> told) {
  for (; fitted_to_ < generation; ++fitted_to_) {
    const std::int64_t count = told_before(fitted_to_ + 1);
    if (static_cast<double>(count) < tuning_.refit * static_cast<double>(fitted_count_)) continue;
    const Data data = data_of(0, told.first(static_cast<std::size_t>(count)));
    if (data.values.size() < 3) continue;
    hyper_ = GpData(data.points, data.values, factors_.pairs()).fit(hyper_, tuning_.fit_iterations);
    fitted_count_ = count;
  }
}

std::vector<Proposal> AutoStrategy::design() const {
  std::vector<Proposal> proposals;
  const auto add = [&](const Eigen::VectorXd& log_factors) {
    Eigen::VectorXd point = Eigen::VectorXd::Constant(factors_.dimension(), std::log(space().attention_factor));
    point.head(factors_.pairs()) = log_factors;
    proposals.push_back(factors_.proposal(factors_.repair(point)));
  };
  for (const RampStepFamily& parameters : tuning_.steps) add(ramp_step_family(space(), parameters));
  for (const YarnFamily& parameters : tuning_.yarns) add(yarn_family(space(), parameters));
  if (space().bounds == FactorBounds::longrope2) add(longrope2_family(space(), 1.0, space().critical_pair_used()));
  return proposals;
}

Eigen::VectorXd AutoStrategy::family_member(const FamilyPoint& at) const {
  const auto between = [&](int k, double low, double high) { return low + (high - low) * at.u[k]; };
  const auto power = [&](int k, double low, double high) { return std::exp2(between(k, low, high)); };
  if (at.yarn) {
    YarnFamily curve;
    curve.scale_ratio = power(0, -0.15, 0.32);
    curve.beta_fast = power(1, 3.0, 6.0);
    curve.beta_slow = power(2, -2.5, 0.5);
    curve.exponent = power(3, -0.1, 0.7);
    curve.cut = power(4, -2.0, 0.6);
    return yarn_family(space(), curve);
  }
  RampStepFamily curve;
  curve.start = power(0, 2.3, 5.0);
  curve.exponent = power(1, -0.5, 1.0);
  curve.level = between(2, 0.35, 0.9);
  curve.step = power(3, -1.5, -0.2);
  curve.top_ratio = power(4, -0.1, 0.3);
  return ramp_step_family(space(), curve);
}

std::vector<Proposal> AutoStrategy::family_generation(std::int32_t generation, const Data& data) const {
  const std::int64_t size = tuning_.family_batch;
  GaussianProcess process(data.points, data.values, factors_.pairs(), hyper_);
  std::vector<Proposal> proposals;
  for (std::int64_t k = 0; k < size; ++k) {
    RandomStream random = stream(generation, static_cast<std::size_t>(k), Purpose::acquisition);
    const double caution = tuning_.bounds[static_cast<std::size_t>(k) % tuning_.bounds.size()];
    Eigen::VectorXd chosen;
    FamilyPoint chosen_at;
    double lowest = std::numeric_limits<double>::infinity();
    for (int sample = 0; sample < tuning_.family_samples; ++sample) {
      FamilyPoint at = chosen_at;
      if (3 * sample < 2 * tuning_.family_samples) {  // anywhere, then near the best of these
        at.yarn = random.uniform() < tuning_.yarn_share;
        for (double& u : at.u) u = random.uniform();
      } else {
        for (double& u : at.u) u = std::clamp(u + 0.08 * random.normal(), 0.0, 1.0);
      }
      Eigen::VectorXd point = data.best;
      point.head(factors_.pairs()) = family_member(at);
      point = factors_.repair(point);
      const auto [mean, deviation] = process.predict_value(point);
      if (mean - caution * deviation < lowest) {
        lowest = mean - caution * deviation;
        chosen = std::move(point);
        chosen_at = at;
      }
    }
    process.believe(chosen);
    proposals.push_back(factors_.proposal(chosen));
  }
  return proposals;
}

std::vector<Proposal> AutoStrategy::model_generation(std::int32_t generation, std::span<const Individual> told,
                                                     const Data& data) const {
  GaussianProcess process(data.points, data.values, factors_.pairs(), hyper_);
  const std::int64_t size = tuning_.batch;
  const SurrogateStep step{factors_, data.best, trust_radius(told, generation)};
  std::vector<Proposal> proposals;
  for (std::int64_t k = 0; k < size; ++k) {
    RandomStream random = stream(generation, static_cast<std::size_t>(k), Purpose::acquisition);
    const Eigen::VectorXd chosen =
        step.minimise(process, tuning_.bounds[static_cast<std::size_t>(k) % tuning_.bounds.size()], random);
    process.believe(chosen);
    proposals.push_back(factors_.proposal(chosen));
  }
  return proposals;
}

std::vector<Proposal> AutoStrategy::start_token_generation(std::span<const Individual> told) const {
  const Data data = data_of(0, told);
  std::vector<Proposal> proposals;
  const std::int64_t count = starts_.back() - main_budget_;
  for (std::int64_t k = 1; k <= count; ++k) {
    Proposal proposal =
        factors_.proposal(data.best_position < 0 ? factors_.repair(factors_.point(space().yarn_factors)) : data.best);
    proposal.start_tokens = kPaperStartTokens[k];
    proposals.push_back(std::move(proposal));
  }
  return proposals;
}

std::vector<Proposal> AutoStrategy::propose(std::int32_t generation, std::span<const Individual> told) {
  const std::int64_t size = told_before(generation + 1) - told_before(generation);
  if (size <= 0) return {};
  std::vector<Proposal> proposals;
  Data data;
  if (generation == 0) {
    proposals = design();
  } else if (told_before(generation) >= main_budget_) {
    proposals = start_token_generation(told);
    data = data_of(0, told);
  } else {
    fit_hyper(generation, told);
    data = data_of(generation, told);
    if (data.best_position < 0) {  // nothing finite yet: somewhere else
      data.best = factors_.repair(factors_.point(space().yarn_factors));
      data.points = data.best.transpose();
      data.values = Eigen::VectorXd::Zero(1);
    }
    proposals = generation <= tuning_.family_generations || data.best_position < 0
                    ? family_generation(generation, data)
                    : model_generation(generation, told, data);
  }
  proposals.resize(static_cast<std::size_t>(size));
  for (Proposal& proposal : proposals) {
    proposal.origin = generation == 0 ? Origin::seed : Origin::model;
    proposal.parents[0] = data.best_position;
  }
  return proposals;
}

}  // namespace longrope::search
