#include "search/longrope2_ga.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace longrope::search {

void fit_ntk_tail(std::vector<double>& factors, std::int64_t critical) {
  const double at_critical = factors[static_cast<std::size_t>(critical)];
  for (std::int64_t i = 0; i < critical; ++i) {
    factors[static_cast<std::size_t>(i)] =
        std::pow(at_critical, static_cast<double>(i) / static_cast<double>(critical));
  }
}

LongRope2Ga::LongRope2Ga(const Space& space, const StrategyOptions& options)
    : GenerationalStrategy(space, options),
      grid_(2.0 * space.scale),
      lowest_(grid_.first_at_least(space.scale)),
      last_critical_(std::min(space.critical_pair_used(), space.geometry.pairs() - 1)) {
  first_critical_ = space.critical == CriticalDimension::searched
                        ? std::min(space.critical_pair_of(10.0), last_critical_)
                        : last_critical_;
}

std::vector<Proposal> LongRope2Ga::first_population() {
  std::vector<Proposal> population;
  Seen seen;
  criticals_.clear();
  for (std::size_t k = 0; k < kPopulation; ++k) {
    RandomStream random = stream(0, k, Purpose::seed_population);
    Proposal proposal;
    proposal.start_tokens = space().start_tokens;
    std::int64_t critical = 0;
    for (int attempt = 0; attempt < kDuplicateTries; ++attempt) {
      critical = first_critical_ + static_cast<std::int64_t>(
                                       random.below(static_cast<std::uint64_t>(last_critical_ - first_critical_ + 1)));
      const auto steps = static_cast<std::uint64_t>(grid_.size() - lowest_);
      const double factor = FactorGrid::value(lowest_ + static_cast<std::int64_t>(random.below(steps)));
      proposal.factors.assign(static_cast<std::size_t>(space().geometry.pairs()), factor);
      fit_ntk_tail(proposal.factors, critical);
      if (!seen.contains(genes(proposal.factors, critical))) break;
    }
    seen.insert(genes(proposal.factors, critical));
    criticals_.push_back(critical);
    population.push_back(std::move(proposal));
  }
  return population;
}

std::int64_t LongRope2Ga::told_before(std::int32_t generation) const {
  if (generation <= 0) return 0;
  return static_cast<std::int64_t>(kPopulation) +
         static_cast<std::int64_t>(kMutations + kCrossovers) * (generation - 1);
}

LongRope2Ga::ParentChoice LongRope2Ga::choose_parents(std::int32_t generation, std::size_t k,
                                                      std::size_t parents) const {
  RandomStream choice = stream(generation, k, Purpose::parent_choice);
  std::size_t better = choice.below(parents);
  if (k < kMutations) return {better, better};
  std::size_t worse = choice.below(parents - 1);
  if (worse >= better) ++worse;  // distinct, all pairs alike
  if (worse < better) std::swap(better, worse);
  return {better, worse};
}

void LongRope2Ga::follow_criticals(std::int32_t generation, std::span<const Individual> told) {
  if (criticals_.empty()) first_population();
  for (std::int32_t g = 1; g < generation; ++g) {
    const auto before = static_cast<std::size_t>(told_before(g));
    if (criticals_.size() > before) continue;
    const std::vector<std::size_t> parents = best_individuals(told.first(before), kParents);
    for (std::size_t k = 0; k < kMutations + kCrossovers; ++k)
      criticals_.push_back(criticals_[parents[choose_parents(g, k, parents.size()).better]]);
  }
}

std::vector<double> LongRope2Ga::mutate(const std::vector<double>& parent, std::int64_t critical, const Seen& seen,
                                        RandomStream& random) const {
  std::vector<double> child;
  const auto first = static_cast<std::size_t>(critical);
  for (int attempt = 0; attempt < kDuplicateTries; ++attempt) {
    child = parent;
    for (std::size_t i = first; i < child.size(); ++i) {
      if (!(random.uniform() < kProbability)) continue;
      const std::int64_t low = i == first ? lowest_ : grid_.first_at_least(child[i - 1]);
      const std::int64_t high = i + 1 == child.size() ? grid_.size() - 1 : grid_.last_at_most(child[i + 1]);
      if (low > high) continue;
      child[i] =
          FactorGrid::value(low + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1))));
    }
    fit_ntk_tail(child, critical);
    if (!seen.contains(genes(child, critical))) break;
  }
  return child;
}

std::vector<double> LongRope2Ga::cross(const std::vector<double>& a, const std::vector<double>& b,
                                       std::int64_t critical_a, std::int64_t critical_b, const Seen& seen,
                                       RandomStream& random) const {
  const auto first = static_cast<std::size_t>(std::max(critical_a, critical_b));
  for (int attempt = 0; attempt < kCrossoverTries; ++attempt) {
    std::vector<double> child = a;
    for (std::size_t i = first; i < child.size(); ++i) {
      if (random.uniform() < 0.5) child[i] = b[i];
    }
    fit_ntk_tail(child, critical_a);
    if (is_non_decreasing(child) && !seen.contains(genes(child, critical_a))) return child;
  }
  return {};
}

std::vector<Proposal> LongRope2Ga::propose(std::int32_t generation, std::span<const Individual> told) {
  if (generation > kIterations) return {};
  if (generation == 0) return first_population();
  follow_criticals(generation, told);

  Seen seen;
  for (std::size_t n = 0; n < told.size(); ++n) seen.insert(genes(told[n].factors, criticals_[n]));
  const std::vector<std::size_t> parents = best_individuals(told, kParents);
  std::vector<Proposal> children;
  for (std::size_t k = 0; k < kMutations + kCrossovers; ++k) {
    const ParentChoice choice = choose_parents(generation, k, parents.size());
    const std::size_t better = parents[choice.better], worse = parents[choice.worse];
    Proposal child;
    child.start_tokens = space().start_tokens;
    child.parents[0] = static_cast<std::int64_t>(better);
    if (k >= kMutations) {
      RandomStream random = stream(generation, k, Purpose::crossover);
      child.factors =
          cross(told[better].factors, told[worse].factors, criticals_[better], criticals_[worse], seen, random);
    }
    if (!child.factors.empty()) {
      child.origin = Origin::crossover;
      child.parents[1] = static_cast<std::int64_t>(worse);
    } else {
      RandomStream random = stream(generation, k, Purpose::mutation);
      child.origin = Origin::mutation;
      child.factors = mutate(told[better].factors, criticals_[better], seen, random);
    }
    seen.insert(genes(child.factors, criticals_[better]));
    children.push_back(std::move(child));
  }
  return children;
}

}  // namespace longrope::search
