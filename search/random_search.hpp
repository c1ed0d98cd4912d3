// Random candidates: PI, NTK and YaRN (moved into LongRoPE2's bounds where the space has them), then factors drawn
// independently, log-uniform between their bounds, and sorted: of all increasing tables in log-factors each is as
// likely as another. A space without order leaves them unsorted; a tolerance changes nothing. The critical dimension
// and start tokens are uniform, the attention factor log-uniform, where they are searched. What is told changes
// nothing either.
#pragma once

#include "search/generational_strategy.hpp"

namespace longrope::search {

class RandomSearch final : public GenerationalStrategy {
 public:
  /// Candidates of a generation.
  static constexpr std::int64_t kGeneration = 32;

  using GenerationalStrategy::GenerationalStrategy;
  std::string name() const override { return "random"; }

 protected:
  std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) override;
  std::int64_t told_before(std::int32_t generation) const override { return kGeneration * generation; }

 private:
  Proposal draw(RandomStream& random) const;
};

}  // namespace longrope::search
