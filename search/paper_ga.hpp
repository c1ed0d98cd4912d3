// LongRoPE's evolutionary search as the paper describes it (arXiv 2402.13753, Algorithm 1 and Table 4): PI, NTK and
// YaRN in the first population, mutation and crossover that keep the factors non-decreasing, the 32 best of everything
// evaluated as parents. P 64, N1 = N2 = 16, p 0.3, T 40: 64 + 40 * 32 = 1344 evaluations.
#pragma once

#include "search/generational_strategy.hpp"
#include "search/paper_moves.hpp"

namespace longrope::search {

class PaperGa final : public GenerationalStrategy {
 public:
  static constexpr std::size_t kPopulation = 64, kMutations = 16, kCrossovers = 16, kParents = 32;
  static constexpr std::int32_t kIterations = 40;

  PaperGa(const Space& space, const StrategyOptions& options);
  std::string name() const override { return "paper-ga"; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override;

 private:
  std::vector<Proposal> first_population() const;

  PaperMoves moves_;
};

}  // namespace longrope::search
