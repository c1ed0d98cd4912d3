#include "search/cma_strategy.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "search/ordering.hpp"
#include "search/pair_basis.hpp"

namespace longrope::search {
namespace {

Eigen::MatrixXd coordinates(const LogFactors& factors, Eigen::Index knots) {
  const Eigen::Index pairs = factors.pairs();
  const Eigen::MatrixXd hats = hat_basis(pairs, knots > 0 ? knots : pairs);
  Eigen::MatrixXd basis = Eigen::MatrixXd::Zero(factors.dimension(), hats.cols() + factors.dimension() - pairs);
  basis.topLeftCorner(pairs, hats.cols()) = hats;
  if (factors.dimension() > pairs) basis(pairs, hats.cols()) = 0.2;  // the attention factor moves less
  return basis;
}

}  // namespace

CmaStrategy::CmaStrategy(std::string name, const Space& space, const StrategyOptions& options, Eigen::Index knots)
    : GenerationalStrategy(space, options),
      name_(std::move(name)),
      factors_(this->space()),
      basis_(coordinates(factors_, knots)),
      start_(factors_.repair(factors_.point(this->space().yarn_factors))),
      cma_(Eigen::VectorXd::Zero(basis_.cols()),
           {.population = 0, .sigma = kStepSize, .diagonal_updates = knots > 0 ? 0 : 2 * factors_.dimension()}) {}

std::int64_t CmaStrategy::told_before(std::int32_t generation) const { return cma_.population() * generation; }

std::vector<Eigen::VectorXd> CmaStrategy::sample(std::int32_t generation) const {
  std::vector<Eigen::VectorXd> samples;
  for (Eigen::Index k = 0; k < cma_.population(); ++k) {
    RandomStream random = stream(generation, static_cast<std::size_t>(k), Purpose::distribution);
    samples.push_back(cma_.sample(random));
  }
  return samples;
}

Eigen::VectorXd CmaStrategy::point(const Eigen::VectorXd& at) const { return start_ + basis_ * at; }

std::vector<Proposal> CmaStrategy::propose(std::int32_t generation, std::span<const Individual> told) {
  std::vector<Proposal> proposals;
  if (told_before(generation) >= most_candidates()) return proposals;
  for (; updated_ < generation; ++updated_) {
    const std::vector<Eigen::VectorXd> samples = sample(updated_);
    const auto first = static_cast<std::size_t>(told_before(updated_));
    std::vector<double> costs;
    for (std::size_t k = 0; k < samples.size() && first + k < told.size(); ++k) {
      const Eigen::VectorXd free = point(samples[k]);
      double cost = kPenalty * (factors_.repair(free) - free).squaredNorm();
      for (const double objective : told[first + k].objectives)
        cost += std::log(objective) / static_cast<double>(told[first + k].objectives.size());
      costs.push_back(std::isfinite(cost) ? cost : std::numeric_limits<double>::quiet_NaN());
    }
    std::vector<std::size_t> order(costs.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return less_nan_last(costs[a], costs[b]); });
    if (std::all_of(costs.begin(), costs.end(), [](double cost) { return std::isnan(cost); })) continue;
    std::vector<Eigen::VectorXd> ranked;
    for (const std::size_t k : order) ranked.push_back(samples[k]);
    cma_.update(ranked);
  }
  for (const Eigen::VectorXd& at : sample(generation)) {
    proposals.push_back(factors_.proposal(factors_.repair(point(at))));
    proposals.back().origin = Origin::random;
  }
  return proposals;
}

}  // namespace longrope::search
