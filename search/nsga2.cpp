#include "search/nsga2.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "search/pareto.hpp"

namespace longrope::search {

std::vector<std::size_t> nsga2_survivors(std::span<const Individual> told, std::vector<std::size_t> candidates,
                                         std::size_t count) {
  const auto bad = [&](std::size_t position) {
    const std::vector<double>& objectives = told[position].objectives;
    return std::any_of(objectives.begin(), objectives.end(), [](double x) { return std::isnan(x); });
  };
  // Kinds that are fronted one after the other: scored whole, raced out, bad.
  std::sort(candidates.begin(), candidates.end());
  std::vector<std::size_t> kinds[3];
  for (const std::size_t position : candidates)
    kinds[bad(position) ? 2 : told[position].raced_out ? 1 : 0].push_back(position);

  std::vector<std::size_t> survivors;
  for (const std::vector<std::size_t>& kind : kinds) {
    std::vector<std::vector<double>> objectives;
    for (const std::size_t position : kind) objectives.push_back(told[position].objectives);
    for (const std::vector<std::size_t>& front : non_dominated_sort(objectives)) {
      std::vector<std::vector<double>> points;
      for (const std::size_t member : front) points.push_back(objectives[member]);
      const std::vector<double> distance = crowding_distance(points);
      std::vector<std::size_t> order(front.size());
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::stable_sort(order.begin(), order.end(),
                       [&](std::size_t a, std::size_t b) { return distance[a] > distance[b]; });
      for (const std::size_t member : order) survivors.push_back(kind[front[member]]);
    }
  }
  survivors.resize(std::min(count, survivors.size()));
  return survivors;
}

Nsga2::Nsga2(const Space& space, const StrategyOptions& options)
    : GenerationalStrategy(space, options), moves_(this->space()) {}

std::vector<Proposal> Nsga2::first_population() const {
  const std::vector<PaperGenes> seeds = moves_.seeds();
  PaperMoves::Seen seen(seeds.begin(), seeds.end());
  std::vector<Proposal> population;
  for (const PaperGenes& seed : seeds)
    population.push_back({Origin::seed, {-1, -1}, seed.factors, seed.start_tokens, seed.attention_factor});
  for (std::size_t k = seeds.size(); k < static_cast<std::size_t>(kPopulation); ++k) {
    RandomStream random = stream(0, k, Purpose::seed_population);
    const std::size_t parent = k % seeds.size();
    const PaperGenes child = moves_.mutate(seeds[parent], seen, random);
    seen.insert(child);
    population.push_back({Origin::mutation,
                          {static_cast<std::int64_t>(parent), -1},
                          child.factors,
                          child.start_tokens,
                          child.attention_factor});
  }
  return population;
}

void Nsga2::advance(std::int32_t generation, std::span<const Individual> told) {
  for (; generations_ < generation; ++generations_) {
    const auto first = static_cast<std::size_t>(told_before(generations_));
    std::vector<std::size_t> candidates = population_;
    for (std::size_t k = 0; k < static_cast<std::size_t>(kPopulation); ++k) candidates.push_back(first + k);
    population_ = nsga2_survivors(told, std::move(candidates), static_cast<std::size_t>(kPopulation));
  }
}

std::vector<Proposal> Nsga2::propose(std::int32_t generation, std::span<const Individual> told) {
  if (told_before(generation) >= most_candidates()) return {};
  if (generation == 0) return first_population();
  advance(generation, told);

  const auto genes = [&](std::size_t position) {
    const Individual& individual = told[position];
    return PaperGenes{individual.factors, individual.start_tokens, individual.attention_factor};
  };
  PaperMoves::Seen seen;
  for (std::size_t position = 0; position < told.size(); ++position) seen.insert(genes(position));
  std::vector<Proposal> children;
  for (std::size_t k = 0; k < static_cast<std::size_t>(kPopulation); ++k) {
    RandomStream choice = stream(generation, k, Purpose::parent_choice);
    // The population is best first, so the lower place wins a tournament.
    const auto tournament = [&] {
      const std::size_t a = choice.below(population_.size()), b = choice.below(population_.size());
      return population_[std::min(a, b)];
    };
    const std::size_t parent = tournament();
    Proposal proposal;
    PaperGenes child;
    bool crossed = false;
    if (k >= static_cast<std::size_t>(kPopulation) / 2) {
      const std::size_t other = tournament();
      RandomStream random = stream(generation, k, Purpose::crossover);
      crossed = moves_.cross(genes(parent), genes(other), seen, random, child);
      if (crossed) proposal.parents[1] = static_cast<std::int64_t>(other);
    }
    if (!crossed) {
      RandomStream random = stream(generation, k, Purpose::mutation);
      child = moves_.mutate(genes(parent), seen, random);
    }
    proposal.origin = crossed ? Origin::crossover : Origin::mutation;
    proposal.parents[0] = static_cast<std::int64_t>(parent);
    proposal.factors = child.factors;
    proposal.start_tokens = child.start_tokens;
    proposal.attention_factor = child.attention_factor;
    seen.insert(std::move(child));
    children.push_back(std::move(proposal));
  }
  return children;
}

}  // namespace longrope::search
