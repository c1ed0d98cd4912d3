#include "search/paper_ga.hpp"

#include <iterator>

namespace longrope::search {

PaperGa::PaperGa(const Space& space, const StrategyOptions& options)
    : GenerationalStrategy(space, options), grid_(1.25 * space.scale) {}

PaperGa::Genes PaperGa::mutate(const Genes& parent, const Seen& seen, RandomStream& random) const {
  Genes child;
  for (int attempt = 0; attempt < kDuplicateTries; ++attempt) {
    child = parent;
    std::vector<double>& factors = child.factors;
    for (std::size_t i = 0; i < factors.size(); ++i) {
      if (!(random.uniform() < kProbability)) continue;
      // Between the neighbours, the left one as it is now: non-decreasing by construction.
      const std::int64_t low = i == 0 ? 0 : grid_.first_at_least(factors[i - 1]);
      const std::int64_t high = i + 1 == factors.size() ? grid_.size() - 1 : grid_.last_at_most(factors[i + 1]);
      if (low > high) continue;  // neighbours off the grid with no grid value between them
      factors[i] =
          FactorGrid::value(low + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1))));
    }
    if (space().search_start_tokens && random.uniform() < kProbability) {
      child.start_tokens = kPaperStartTokens[random.below(std::size(kPaperStartTokens))];
    }
    if (!seen.contains(child)) break;
  }
  return child;
}

bool PaperGa::cross(const Genes& a, const Genes& b, const Seen& seen, RandomStream& random, Genes& child) const {
  for (int attempt = 0; attempt < kCrossoverTries; ++attempt) {
    child = a;
    for (std::size_t i = 0; i < child.factors.size(); ++i) {
      if (random.uniform() < 0.5) child.factors[i] = b.factors[i];
    }
    if (space().search_start_tokens && random.uniform() < 0.5) child.start_tokens = b.start_tokens;
    if (is_non_decreasing(child.factors) && !seen.contains(child)) return true;
  }
  return false;
}

std::vector<Proposal> PaperGa::first_population() const {
  const std::int32_t start_tokens = space().search_start_tokens ? 0 : space().start_tokens;
  const Genes seeds[] = {
      {space().pi_factors, start_tokens}, {space().ntk_factors, start_tokens}, {space().yarn_factors, start_tokens}};
  constexpr std::size_t kSeeds = std::size(seeds);
  Seen seen(std::begin(seeds), std::end(seeds));
  std::vector<Proposal> population;
  for (const Genes& seed : seeds) population.push_back({Origin::seed, {-1, -1}, seed.factors, seed.start_tokens});
  for (std::size_t k = kSeeds; k < kPopulation; ++k) {
    RandomStream random = stream(0, k, Purpose::seed_population);
    const std::size_t parent = k % kSeeds;
    const Genes child = mutate(seeds[parent], seen, random);
    seen.insert(child);
    population.push_back(
        {Origin::mutation, {static_cast<std::int64_t>(parent), -1}, child.factors, child.start_tokens});
  }
  return population;
}

std::int64_t PaperGa::told_before(std::int32_t generation) const {
  if (generation <= 0) return 0;
  return static_cast<std::int64_t>(kPopulation) +
         static_cast<std::int64_t>(kMutations + kCrossovers) * (generation - 1);
}

std::vector<Proposal> PaperGa::propose(std::int32_t generation, std::span<const Individual> told) {
  if (generation > kIterations) return {};
  if (generation == 0) return first_population();

  Seen seen;
  for (const Individual& individual : told) seen.insert({individual.factors, individual.start_tokens});
  const std::vector<std::size_t> parents = best_individuals(told, kParents);
  const auto genes = [&](std::size_t position) { return Genes{told[position].factors, told[position].start_tokens}; };

  std::vector<Proposal> children;
  for (std::size_t k = 0; k < kMutations + kCrossovers; ++k) {
    RandomStream choice = stream(generation, k, Purpose::parent_choice);
    std::size_t better = choice.below(parents.size());
    Proposal proposal;
    Genes child;
    bool crossed = false;
    if (k >= kMutations) {
      std::size_t worse = choice.below(parents.size() - 1);
      if (worse >= better) ++worse;  // distinct, all pairs alike
      if (worse < better) std::swap(better, worse);
      RandomStream random = stream(generation, k, Purpose::crossover);
      crossed = cross(genes(parents[better]), genes(parents[worse]), seen, random, child);
      if (crossed) proposal.parents[1] = static_cast<std::int64_t>(parents[worse]);
    }
    if (!crossed) {
      RandomStream random = stream(generation, k, Purpose::mutation);
      child = mutate(genes(parents[better]), seen, random);
    }
    proposal.origin = crossed ? Origin::crossover : Origin::mutation;
    proposal.parents[0] = static_cast<std::int64_t>(parents[better]);
    proposal.factors = child.factors;
    proposal.start_tokens = child.start_tokens;
    seen.insert(std::move(child));
    children.push_back(std::move(proposal));
  }
  return children;
}

}  // namespace longrope::search
