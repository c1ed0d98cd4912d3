// The genetic search of microsoft/LongRoPE's main branch (evolution/algorithms/genetic_base.py, dim_mono with its
// default hyper-parameters), defects of behaviour included: seeded with one YaRN-like individual only, crossover that
// copies a single gene, bound 1 + s. 64 + 40 * 32 = 1344 evaluations.
#pragma once

#include "search/generational_strategy.hpp"

namespace longrope::search {

class ReleaseGa final : public GenerationalStrategy {
 public:
  static constexpr std::size_t kPopulation = 64, kMutations = 16, kCrossovers = 16, kParents = 32;
  static constexpr std::int32_t kIterations = 40;

  using GenerationalStrategy::GenerationalStrategy;
  std::string name() const override { return "release-ga"; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override;

 private:
  std::vector<Proposal> first_population() const;
};

}  // namespace longrope::search
