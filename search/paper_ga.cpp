#include "search/paper_ga.hpp"

#include <utility>

namespace longrope::search {

PaperGa::PaperGa(const Space& space, const StrategyOptions& options)
    : GenerationalStrategy(space, options), moves_(this->space()) {}

std::vector<Proposal> PaperGa::first_population() const {
  const std::vector<PaperGenes> seeds = moves_.seeds();
  PaperMoves::Seen seen(seeds.begin(), seeds.end());
  std::vector<Proposal> population;
  for (const PaperGenes& seed : seeds) population.push_back({Origin::seed, {-1, -1}, seed.factors, seed.start_tokens});
  for (std::size_t k = seeds.size(); k < kPopulation; ++k) {
    RandomStream random = stream(0, k, Purpose::seed_population);
    const std::size_t parent = k % seeds.size();
    const PaperGenes child = moves_.mutate(seeds[parent], seen, random);
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

  const auto genes = [&](std::size_t position) {
    return PaperGenes{told[position].factors, told[position].start_tokens, space().attention_factor};
  };
  PaperMoves::Seen seen;
  for (std::size_t position = 0; position < told.size(); ++position) seen.insert(genes(position));
  const std::vector<std::size_t> parents = best_individuals(told, kParents);

  std::vector<Proposal> children;
  for (std::size_t k = 0; k < kMutations + kCrossovers; ++k) {
    RandomStream choice = stream(generation, k, Purpose::parent_choice);
    std::size_t better = choice.below(parents.size());
    Proposal proposal;
    PaperGenes child;
    bool crossed = false;
    if (k >= kMutations) {
      std::size_t worse = choice.below(parents.size() - 1);
      if (worse >= better) ++worse;  // distinct, all pairs alike
      if (worse < better) std::swap(better, worse);
      RandomStream random = stream(generation, k, Purpose::crossover);
      crossed = moves_.cross(genes(parents[better]), genes(parents[worse]), seen, random, child);
      if (crossed) proposal.parents[1] = static_cast<std::int64_t>(parents[worse]);
    }
    if (!crossed) {
      RandomStream random = stream(generation, k, Purpose::mutation);
      child = moves_.mutate(genes(parents[better]), seen, random);
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
