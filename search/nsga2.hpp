// NSGA-II (K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans. Evol. Comp. 6(2),
// 2002) with paper-ga's first population, mutation and crossover: the baseline for frontiers, for any number of
// objectives. 64 parents and 64 children a generation, the first half of them mutations; parents by binary tournament
// on front and crowding distance. Candidates that were raced out come after all others, bad ones last.
#pragma once

#include "search/generational_strategy.hpp"
#include "search/paper_moves.hpp"

namespace longrope::search {

class Nsga2 final : public GenerationalStrategy {
 public:
  static constexpr std::int64_t kPopulation = 64;

  Nsga2(const Space& space, const StrategyOptions& options);
  std::string name() const override { return "nsga2"; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override { return kPopulation * generation; }

 private:
  std::vector<Proposal> first_population() const;
  /// The population after `generation`, from the one before and the children.
  void advance(std::int32_t generation, std::span<const Individual> told);

  PaperMoves moves_;
  /// Positions of the population after generations_ generations, best first: by front, crowding distance, position.
  /// They follow from what was told and are not part of the state.
  std::vector<std::size_t> population_;
  std::int32_t generations_ = 0;
};

/// Positions of the `count` that survive among `candidates` (positions in `told`), best first: by front, then by
/// crowding distance in it (greater first), then by position.
std::vector<std::size_t> nsga2_survivors(std::span<const Individual> told, std::vector<std::size_t> candidates,
                                         std::size_t count);

}  // namespace longrope::search
