// Mutation and crossover of LongRoPE's evolutionary search (arXiv 2402.13753, Algorithm 1 and Table 4), in whatever
// space is declared: the paper's own (paper-ga), or one with other bounds, another order or an attention factor that
// is searched (nsga2).
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "search/factor_grid.hpp"
#include "search/random.hpp"
#include "search/space.hpp"

namespace longrope::search {

struct PaperGenes {
  std::vector<double> factors;  ///< [d/2], relative to the space's base
  std::int32_t start_tokens = 0;
  double attention_factor = 1.0;
  auto operator<=>(const PaperGenes&) const = default;
};

class PaperMoves {
 public:
  using Seen = std::set<PaperGenes>;
  static constexpr double kProbability = 0.3;
  static constexpr int kCrossoverTries = 20;
  /// A mutation that repeats a seen candidate is drawn again this often, and then accepted.
  static constexpr int kDuplicateTries = 100;

  explicit PaperMoves(const Space& space);

  /// PI, NTK and YaRN; moved into the space's bounds where these are LongRoPE2's.
  std::vector<PaperGenes> seeds() const;

  /// Each factor, with probability 0.3, drawn anew from the grid between its neighbours as they are now and within its
  /// bounds: in order by construction if the parent is. Start tokens, the critical dimension (all factors then move
  /// into its bounds) and the attention factor (log-uniform in its bounds) too, where they are searched.
  PaperGenes mutate(const PaperGenes& parent, const Seen& seen, RandomStream& random) const;

  /// Each gene from either parent alike. False: no new child in order within the tries.
  bool cross(const PaperGenes& a, const PaperGenes& b, const Seen& seen, RandomStream& random, PaperGenes& child) const;

 private:
  /// Where the critical dimension is searched it shows in the factors: the first pair of its range that reaches s.
  std::int64_t critical_of(const std::vector<double>& factors) const;
  void move_into_bounds(std::vector<double>& factors, std::int64_t critical) const;
  void mutate_factors(std::vector<double>& factors, RandomStream& random) const;

  Space space_;
  FactorGrid grid_;
  bool search_critical_ = false;
  std::int64_t first_critical_ = 0, last_critical_ = 0;
};

}  // namespace longrope::search
