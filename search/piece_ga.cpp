#include "search/piece_ga.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "search/factor_order.hpp"
#include "search/ordering.hpp"

namespace longrope::search {
namespace {

/// int(numpy.random.normal(mean, deviation)): towards zero. Box and Muller's transform.
std::int64_t truncated_normal(std::int64_t mean, double deviation, RandomStream& random) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - random.uniform()));
  const double angle = 2.0 * std::numbers::pi * random.uniform();
  return static_cast<std::int64_t>(static_cast<double>(mean) + deviation * radius * std::cos(angle));
}

}  // namespace

PieceGa::Genes PieceGa::first_individual() const {
  Genes genes;
  genes.factors = release_first_individual(space());
  std::vector<double>& factors = genes.factors;
  // s is no float32 number in general, and the highest pairs keep what they have here: it must be the s of the others.
  std::replace(factors.begin(), factors.end(), factors.back(), space().scale);
  const double top = space().scale;
  const auto above = std::find_if(factors.begin(), factors.end(), [](double factor) { return factor > 1.0; });
  const auto at_top = std::find_if(factors.begin(), factors.end(), [&](double factor) { return factor >= top; });
  const auto last = static_cast<std::int64_t>(factors.size()) - 1;
  genes.alpha = std::min<std::int64_t>(above - factors.begin(), last - 1);
  genes.beta = std::clamp<std::int64_t>(at_top - factors.begin(), genes.alpha + 1, last);
  return genes;
}

void PieceGa::move_pieces(Genes& genes, RandomStream& random) const {
  const auto last = static_cast<std::int64_t>(genes.factors.size()) - 1;
  const auto move = [&] {
    std::int64_t& piece = random.uniform() < 0.5 ? genes.alpha : genes.beta;
    piece = truncated_normal(piece, kDeviation, random);
  };
  const auto valid = [&] { return 0 <= genes.alpha && genes.alpha < genes.beta && genes.beta <= last; };
  move();
  for (int count = 0; count <= kMaxMoves && !valid(); ++count) move();

  std::vector<double>& factors = genes.factors;
  for (std::size_t i = 0; i + 2 < factors.size(); ++i) {
    const auto pair = static_cast<std::int64_t>(i);
    if (pair <= genes.alpha) {
      factors[i] = 1.0;
    } else if (pair > genes.beta) {
      factors[i] = space().scale;
    } else {
      const Arange values = i == 0 ? Arange{1.0, factors[1], kReleaseStep}
                                   : Arange{factors[i - 1], factors[i + 1] + kReleaseStep, kReleaseStep};
      const std::int64_t size = values.size();
      if (size > 0) factors[i] = values[static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(size)))];
    }
  }
}

PieceGa::Genes PieceGa::mutate(const Genes& parent, const Seen& seen, RandomStream& random) const {
  Genes genes = parent, last_in_order = parent;
  for (int round = 0; round < kMaxRounds; ++round) {
    if (in_order(space(), genes.factors)) {
      if (!seen.contains(genes)) return genes;
      last_in_order = genes;
    }
    if (random.uniform() < kReleaseProbability) move_pieces(genes, random);
  }
  return last_in_order;
}

bool PieceGa::cross(const Genes& better, const Genes& worse, const Seen& seen, RandomStream& random,
                    Genes& child) const {
  if (better == worse) return false;
  child = better;
  for (int attempt = 0; attempt < kCrossoverTries; ++attempt) {
    for (std::size_t gene = 0; gene < child.factors.size() + 2; ++gene) {
      if (!(random.uniform() < kReleaseProbability)) continue;
      if (random.uniform() < 0.5) {
        if (gene < 2) {
          child.alpha = worse.alpha;
          child.beta = worse.beta;
        } else {
          child.factors[gene - 2] = worse.factors[gene - 2];
        }
      }
      if (child.alpha <= child.beta && is_non_decreasing(child.factors) && !seen.contains(child)) return true;
    }
  }
  return false;
}

std::int64_t PieceGa::told_before(std::int32_t generation) const {
  if (generation <= 0) return 0;
  return static_cast<std::int64_t>(kPopulation) +
         static_cast<std::int64_t>(kMutations + kCrossovers) * (generation - 1);
}

bool PieceGa::stopped(std::int32_t generation, std::span<const Individual> told) const {
  // The original keeps 1000 and then, iteration by iteration, the lowest objective at the start of each; at the end
  // of iteration i it compares entries i and i - 20. So the population iteration i started from is not in yet.
  const std::int32_t iteration = generation - 2;
  if (iteration < kPatience) return false;
  const auto best = [&](std::int32_t entry) {
    double lowest = 1000.0;
    const auto count = static_cast<std::size_t>(entry == 0 ? 0 : told_before(entry));
    for (const Individual& individual : told.first(count)) {
      if (less_nan_last(individual.objective, lowest)) lowest = individual.objective;
    }
    return lowest;
  };
  return std::fabs(best(iteration) - best(iteration - kPatience)) < kLeastGain;
}

std::vector<Proposal> PieceGa::make_generation(std::int32_t generation, std::span<const Individual> told) {
  Seen seen(made_.begin(), made_.end());
  std::vector<Proposal> children;
  const auto add = [&](Origin origin, std::int64_t better, std::int64_t worse, const Genes& child) {
    Proposal proposal;
    proposal.origin = origin;
    proposal.parents[0] = better;
    proposal.parents[1] = worse;
    proposal.factors = child.factors;
    proposal.start_tokens = space().start_tokens;
    children.push_back(std::move(proposal));
    made_.push_back(child);
    seen.insert(child);
  };

  if (generation == 0) {
    const Genes first = first_individual();
    add(Origin::seed, -1, -1, first);
    for (std::size_t k = 1; k < kPopulation; ++k) {
      RandomStream random = stream(0, k, Purpose::seed_population);
      add(Origin::mutation, 0, -1, mutate(first, seen, random));
    }
    return children;
  }
  const std::vector<std::size_t> parents = best_individuals(told, kParents);
  for (std::size_t k = 0; k < kMutations + kCrossovers; ++k) {
    RandomStream choice = stream(generation, k, Purpose::parent_choice);
    std::size_t better = choice.below(parents.size());
    Genes child;
    if (k >= kMutations) {
      std::size_t worse = choice.below(parents.size() - 1);
      if (worse >= better) ++worse;  // distinct, all pairs alike
      if (worse < better) std::swap(better, worse);
      RandomStream random = stream(generation, k, Purpose::crossover);
      if (cross(made_[parents[better]], made_[parents[worse]], seen, random, child)) {
        add(Origin::crossover, static_cast<std::int64_t>(parents[better]), static_cast<std::int64_t>(parents[worse]),
            child);
        continue;
      }
    }
    RandomStream random = stream(generation, k, Purpose::mutation);
    add(Origin::mutation, static_cast<std::int64_t>(parents[better]), -1, mutate(made_[parents[better]], seen, random));
  }
  return children;
}

std::vector<Proposal> PieceGa::propose(std::int32_t generation, std::span<const Individual> told) {
  if (generation > kIterations || stopped(generation, told)) return {};
  for (std::int32_t g = 0; g < generation; ++g) {
    const auto before = static_cast<std::size_t>(told_before(g));
    if (made_.size() == before) make_generation(g, told.first(before));
  }
  return make_generation(generation, told);
}

}  // namespace longrope::search
