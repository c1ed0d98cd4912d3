#include "search/lq_cma_strategy.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "search/nan.hpp"
#include "search/ordering.hpp"
#include "search/quadratic_model.hpp"

namespace longrope::search {
namespace {

constexpr std::size_t kRecent = 15;  // scored points that the surrogate's ranks are compared on

/// The default population, rounded up to whole batches.
Eigen::Index population_of(Eigen::Index dimension) {
  const auto batch = static_cast<Eigen::Index>(LqCmaStrategy::kBatch);
  const auto usual = 4 + static_cast<Eigen::Index>(3.0 * std::log(static_cast<double>(dimension)));
  return (usual + batch - 1) / batch * batch;
}

QuadraticModel model_of(const std::vector<Eigen::VectorXd>& points, const std::vector<double>& costs) {
  // Twice what a diagonal quadratic needs: older points lie elsewhere.
  const std::size_t most = static_cast<std::size_t>(4 * points.front().size() + 20);
  const std::size_t first = points.size() > most ? points.size() - most : 0;
  Eigen::MatrixXd rows(static_cast<Eigen::Index>(points.size() - first), points.front().size());
  Eigen::VectorXd values(rows.rows());
  for (std::size_t i = first; i < points.size(); ++i) {
    rows.row(static_cast<Eigen::Index>(i - first)) = points[i].transpose();
    values[static_cast<Eigen::Index>(i - first)] = costs[i];
  }
  return {rows, values};
}

std::vector<std::size_t> ranks(const std::vector<double>& costs) {
  std::vector<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return less_nan_last(costs[a], costs[b]); });
  return order;
}

}  // namespace

LqCmaStrategy::LqCmaStrategy(const Space& space, const StrategyOptions& options)
    : GenerationalStrategy(space, options),
      factors_(this->space()),
      cma_(factors_.repair(factors_.point(this->space().yarn_factors)),
           {.population = population_of(factors_.dimension()),
            .sigma = kStepSize,
            .diagonal_updates = 2 * factors_.dimension()}) {
  start_iteration();
}

std::int64_t LqCmaStrategy::told_before(std::int32_t generation) const { return kBatch * generation; }

void LqCmaStrategy::start_iteration() {
  samples_.clear();
  for (Eigen::Index k = 0; k < cma_.population(); ++k) {
    RandomStream random = stream(iteration_, static_cast<std::size_t>(k), Purpose::distribution);
    samples_.push_back(cma_.sample(random));
  }
  costs_.assign(samples_.size(), kNan);
  scored_.assign(samples_.size(), false);
  asked_ = choose();
}

double LqCmaStrategy::cost(const Individual& individual, const Eigen::VectorXd& free) const {
  double sum = kPenalty * (factors_.repair(free) - free).squaredNorm();
  for (const double objective : individual.objectives)
    sum += std::log(objective) / static_cast<double>(individual.objectives.size());
  return std::isfinite(sum) ? sum : kNan;
}

std::vector<std::size_t> LqCmaStrategy::choose() const {
  std::vector<double> predicted(samples_.size(), 0.0);
  if (!archive_.empty()) {
    const QuadraticModel model = model_of(archive_, archive_costs_);
    for (std::size_t k = 0; k < samples_.size(); ++k) predicted[k] = model.predict(samples_[k]);
  }
  std::vector<std::size_t> chosen;
  for (const std::size_t k : ranks(predicted)) {
    if (!scored_[k] && std::cmp_less(chosen.size(), kBatch)) chosen.push_back(k);
  }
  return chosen;
}

void LqCmaStrategy::advance(std::span<const Individual> told) {
  auto position = static_cast<std::size_t>(told_before(seen_));
  for (const std::size_t k : asked_) {
    costs_[k] = cost(told[position++], samples_[k]);
    scored_[k] = true;
    if (std::isnan(costs_[k])) continue;
    archive_.push_back(samples_[k]);
    archive_costs_.push_back(costs_[k]);
  }
  ++seen_;
  const bool all = std::all_of(scored_.begin(), scored_.end(), [](bool scored) { return scored; });
  if (!archive_.empty()) {
    const QuadraticModel model = model_of(archive_, archive_costs_);
    const std::size_t recent = std::min(kRecent, archive_.size());
    std::vector<double> predicted;
    for (std::size_t i = archive_.size() - recent; i < archive_.size(); ++i)
      predicted.push_back(model.predict(archive_[i]));
    const double tau = kendall_tau(predicted, std::span(archive_costs_).last(recent));
    if (!all && !(recent == kRecent && model.form() != QuadraticModel::Form::constant && tau >= kTrusted)) {
      asked_ = choose();
      return;
    }
    std::vector<double> values = costs_;
    for (std::size_t k = 0; k < samples_.size(); ++k) {
      if (!scored_[k]) values[k] = model.predict(samples_[k]);
    }
    std::vector<Eigen::VectorXd> ranked;
    for (const std::size_t k : ranks(values)) ranked.push_back(samples_[k]);
    cma_.update(ranked);
  } else if (!all) {
    asked_ = choose();
    return;
  }
  ++iteration_;
  start_iteration();
}

std::vector<Proposal> LqCmaStrategy::propose(std::int32_t generation, std::span<const Individual> told) {
  std::vector<Proposal> proposals;
  if (told_before(generation) >= most_candidates()) return proposals;
  while (seen_ < generation) advance(told);
  for (const std::size_t k : asked_) {
    proposals.push_back(factors_.proposal(factors_.repair(samples_[k])));
    proposals.back().origin = Origin::random;
  }
  return proposals;
}

}  // namespace longrope::search
