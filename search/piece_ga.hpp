// dim_piece_mono of microsoft/LongRoPE, which the published LLaMA2-128k table comes from, going by the name of its
// checkpoint: pairs up to α keep λ = 1, pairs beyond β have λ = s, those between are free, and α and β themselves are
// moved. From its `longrope` branch (evolution/dim_piece_mono/dim_piece_mono.py and parameters_dict.json,
// evolution/GeneticAlgorithm.py: population 128, 80 iterations of 32 mutations and 32 crossovers, 40 tries, 32 parents:
// 5248 evaluations unless it stops early), not from main, whose dim_piece_mono has the counts of dim_mono, starts from
// α = β = 0 and knows no early stop. Defects of behaviour stay: the two highest pairs are never touched, a mutation
// draws all free pairs anew or nothing, a crossover copies one gene.
//
// Two things are not as in the original. The order of a mutated candidate: the branch does not check it, and does so
// here where the space is free; main draws on until it is non-decreasing, and that is done here where the space is
// monotone (or tolerant, with its tolerance). And the first individual, a file there: its files for 32x, 50x and 64x
// are release-ga's first individual, α the first pair above 1 and β the first at s, and that is what is made here for
// any geometry.
#pragma once

#include <set>
#include <vector>

#include "search/generational_strategy.hpp"
#include "search/release_moves.hpp"

namespace longrope::search {

class PieceGa final : public GenerationalStrategy {
 public:
  static constexpr std::size_t kPopulation = 128, kMutations = 32, kCrossovers = 32, kParents = 32;
  static constexpr std::int32_t kIterations = 80;
  static constexpr int kCrossoverTries = 40;
  static constexpr double kDeviation = 2.0;  ///< pairs; of the moves of α and β
  /// The original looks for valid α and β this often, and for a new candidate for ever; here the latter ends too.
  static constexpr int kMaxMoves = 10000, kMaxRounds = 2000;
  /// Early stop: a best objective that changed by less within as many iterations.
  static constexpr double kLeastGain = 0.001;
  static constexpr std::int32_t kPatience = 20;

  using GenerationalStrategy::GenerationalStrategy;
  std::string name() const override { return "piece-ga"; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override;

 private:
  struct Genes {
    std::int64_t alpha = 0, beta = 0;
    std::vector<double> factors;
    auto operator<=>(const Genes&) const = default;
  };
  using Seen = std::set<Genes>;

  Genes first_individual() const;
  /// One attempt to move α or β, and all pairs with them.
  void move_pieces(Genes& genes, RandomStream& random) const;
  Genes mutate(const Genes& parent, const Seen& seen, RandomStream& random) const;
  /// False: no new non-decreasing child within the tries.
  bool cross(const Genes& better, const Genes& worse, const Seen& seen, RandomStream& random, Genes& child) const;
  bool stopped(std::int32_t generation, std::span<const Individual> told) const;
  /// Proposals of a generation; its genes are appended to made_.
  std::vector<Proposal> make_generation(std::int32_t generation, std::span<const Individual> told);

  /// Everything proposed. Candidates do not show α and β, so a restored strategy makes all generations anew.
  std::vector<Genes> made_;
};

}  // namespace longrope::search
