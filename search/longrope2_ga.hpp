// LongRoPE2's evolutionary search as the paper describes it (arXiv 2502.20082, Algorithms 1 and 2). A candidate is a
// critical dimension d and factors of the pairs from d on, in [s, 2 s] and non-decreasing; the pairs below follow NTK:
// λ_i = λ_d^(i/d). First population: d drawn from its range, one factor drawn for all pairs from d on. Mutation:
// each pair from d on, with probability 0.3, drawn anew between its neighbours within [s, 2 s]; the NTK part then
// fitted again. Counts as LongRoPE's: P 64, N1 = N2 = 16, 32 parents, T 40: 64 + 40 * 32 = 1344 evaluations.
//
// The paper leaves open, and here is as in LongRoPE: steps of 0.01, candidates that are not repeated, 20 tries of a
// crossover. Children keep the critical dimension of the better parent; a crossover takes genes of the other one only
// where both search them.
//
// The released code differs: its critical dimension is a command-line argument and not searched; 128 first
// individuals, made from 8 NTK scales, so 1408 evaluations; it searches the lower pairs too, in [1, s + S/8] (S: an
// upper limit given by hand); strictly increasing factors in bfloat16; and a factor of cos and sin per dimension.
#pragma once

#include <set>
#include <utility>
#include <vector>

#include "search/factor_grid.hpp"
#include "search/generational_strategy.hpp"

namespace longrope::search {

/// λ_i = λ_d^(i/d) for the pairs below `critical`, in place; the others stay. Precondition: 0 <= critical < d/2.
void fit_ntk_tail(std::vector<double>& factors, std::int64_t critical);

class LongRope2Ga final : public GenerationalStrategy {
 public:
  static constexpr std::size_t kPopulation = 64, kMutations = 16, kCrossovers = 16, kParents = 32;
  static constexpr std::int32_t kIterations = 40;
  static constexpr double kProbability = 0.3;
  static constexpr int kCrossoverTries = 20;
  /// A candidate that repeats an earlier one is drawn again this often, and then accepted.
  static constexpr int kDuplicateTries = 100;

  LongRope2Ga(const Space& space, const StrategyOptions& options);
  std::string name() const override { return "longrope2-ga"; }

  /// Range of the critical pair: from ten periods in L0 to the theoretical one where it is searched. Never beyond the
  /// last pair.
  std::int64_t first_critical() const { return first_critical_; }
  std::int64_t last_critical() const { return last_critical_; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override;

 private:
  /// Critical pair and the factors from it on: all genes. (The NTK part may be off by a rounding error over a base.)
  using Seen = std::set<std::pair<std::int64_t, std::vector<double>>>;
  static Seen::value_type genes(const std::vector<double>& factors, std::int64_t critical) {
    return {critical, {factors.begin() + critical, factors.end()}};
  }
  struct ParentChoice {
    std::size_t better, worse;  ///< ranks among the parents; equal for a mutation
  };

  std::vector<Proposal> first_population();
  ParentChoice choose_parents(std::int32_t generation, std::size_t k, std::size_t parents) const;
  /// Critical pairs of everything told. Seeds drew theirs, children have their better parent's: all of it depends on
  /// random draws and objectives alone, so a restored strategy finds them anew.
  void follow_criticals(std::int32_t generation, std::span<const Individual> told);
  std::vector<double> mutate(const std::vector<double>& parent, std::int64_t critical, const Seen& seen,
                             RandomStream& random) const;
  /// Empty: no new non-decreasing child within the tries.
  std::vector<double> cross(const std::vector<double>& a, const std::vector<double>& b, std::int64_t critical_a,
                            std::int64_t critical_b, const Seen& seen, RandomStream& random) const;

  FactorGrid grid_;
  std::int64_t lowest_;  ///< of the grid at s
  std::int64_t first_critical_ = 0, last_critical_ = 0;
  std::vector<std::int64_t> criticals_;  ///< in order of telling; follows from what was told, not part of the state
};

}  // namespace longrope::search
