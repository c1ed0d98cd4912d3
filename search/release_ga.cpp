#include "search/release_ga.hpp"

#include <utility>

#include "search/release_moves.hpp"

namespace longrope::search {

std::vector<Proposal> ReleaseGa::first_population() const {
  std::vector<Proposal> population;
  ReleaseHistory history;
  const std::vector<double> first = release_first_individual(space());
  for (std::size_t k = 0; k < kPopulation; ++k) {
    Proposal proposal;
    proposal.start_tokens = space().start_tokens;
    if (k == 0) {
      proposal.factors = first;
    } else {
      RandomStream random = stream(0, k, Purpose::seed_population);
      proposal.origin = Origin::mutation;
      proposal.parents[0] = 0;
      proposal.factors = release_mutate(first, space().scale, history, random);
    }
    history.add(proposal.factors);
    population.push_back(std::move(proposal));
  }
  return population;
}

std::int64_t ReleaseGa::told_before(std::int32_t generation) const {
  if (generation <= 0) return 0;
  return static_cast<std::int64_t>(kPopulation) +
         static_cast<std::int64_t>(kMutations + kCrossovers) * (generation - 1);
}

std::vector<Proposal> ReleaseGa::propose(std::int32_t generation, std::span<const Individual> told) {
  if (generation > kIterations) return {};
  if (generation == 0) return first_population();

  ReleaseHistory history;
  for (const Individual& individual : told) history.add(individual.factors);
  // The original sorts parents and children of the last iteration; as parents stay, that is the best of all so far.
  const std::vector<std::size_t> parents = best_individuals(told, kParents);

  std::vector<Proposal> children;
  const auto mutate = [&](std::size_t parent, std::size_t k, Proposal& child) {
    RandomStream random = stream(generation, k, Purpose::mutation);
    child.origin = Origin::mutation;
    child.parents[0] = static_cast<std::int64_t>(parent);
    child.factors = release_mutate(told[parent].factors, space().scale, history, random);
  };
  for (std::size_t k = 0; k < kMutations + kCrossovers; ++k) {
    Proposal child;
    child.start_tokens = space().start_tokens;
    RandomStream choice = stream(generation, k, Purpose::parent_choice);
    if (k < kMutations) {
      mutate(parents[choice.below(parents.size())], k, child);
    } else {
      std::size_t better = choice.below(parents.size());
      std::size_t worse = choice.below(parents.size() - 1);
      if (worse >= better) ++worse;  // distinct, all pairs alike
      if (worse < better) std::swap(better, worse);
      RandomStream random = stream(generation, k, Purpose::crossover);
      child.factors = release_crossover(told[parents[better]].factors, told[parents[worse]].factors, history, random);
      if (child.factors.empty()) {
        mutate(parents[better], k, child);
      } else {
        child.origin = Origin::crossover;
        child.parents[0] = static_cast<std::int64_t>(parents[better]);
        child.parents[1] = static_cast<std::int64_t>(parents[worse]);
      }
    }
    history.add(child.factors);
    children.push_back(std::move(child));
  }
  return children;
}

}  // namespace longrope::search
