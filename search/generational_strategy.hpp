// What strategies that work in generations share: handing a generation out in pieces, the record of everything told,
// and a state that is a few counters. A generation is a function of what was told before it, so a restored strategy
// makes the generation it was in anew and goes on where it stopped.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "search/random.hpp"
#include "search/strategy.hpp"

namespace longrope::search {

/// One candidate that was told.
struct Individual {
  std::int64_t id = -1;
  std::vector<double> factors;  ///< [d/2], relative to the space's base
  std::int32_t start_tokens = 0;
  double attention_factor = 1.0;
  double objective = 0.0;          ///< the first one; NaN: bad
  std::vector<double> objectives;  ///< [K]
  bool raced_out = false;          ///< objectives are estimates
};

/// One candidate to be asked. Parents are positions in the order of telling, -1 for none; a position at or beyond the
/// number told means a member of the generation being made.
struct Proposal {
  Origin origin = Origin::seed;
  std::int64_t parents[2] = {-1, -1};
  std::vector<double> factors;  ///< [d/2], relative to the space's base
  std::int32_t start_tokens = 0;
  double attention_factor = 0.0;  ///< 0: the space's
};

/// Strategies without a count of their own end with the first generation that reaches this many candidates per full
/// evaluation of budget: racing spends a fraction of an evaluation on most, and the driver stops at the budget.
inline constexpr std::int64_t kCandidatesPerBudget = 8;

class GenerationalStrategy : public Strategy {
 public:
  GenerationalStrategy(Space space, StrategyOptions options);

  std::vector<Candidate> ask(std::int64_t first_id, std::int64_t limit) final;
  void tell(std::span<const Candidate> candidates, std::span<const Outcome> outcomes) final;
  std::string save() const final;
  void load(const std::string& state, std::span<const Candidate> candidates, std::span<const Outcome> outcomes) final;

 protected:
  /// The whole generation, made from told() alone; empty when the strategy has ended.
  virtual std::vector<Proposal> propose(std::int32_t generation, std::span<const Individual> told) = 0;

  /// How many candidates the generations before this one hold.
  virtual std::int64_t told_before(std::int32_t generation) const = 0;

  const Space& space() const { return space_; }
  const StrategyOptions& options() const { return options_; }
  /// budget * kCandidatesPerBudget
  std::int64_t most_candidates() const;
  RandomStream stream(std::int32_t generation, std::size_t candidate, Purpose purpose) const;

 private:
  void remember(const Candidate& candidate, const Outcome& outcome);

  Space space_;
  StrategyOptions options_;
  std::vector<Individual> told_;
  std::uint64_t digest_ = 14695981039346656037u;  ///< FNV-1a over ids, genes and objectives in order of telling
  std::int32_t generation_ = 0;                   ///< the one being handed out
  std::size_t done_ = 0;                          ///< how many of it were told
  std::vector<Proposal> pending_;                 ///< the generation; empty: not made yet
  std::size_t asked_ = 0;                         ///< how many were asked and not told
  std::int64_t asked_first_id_ = 0;
};

/// Positions of the `count` best individuals, best first: by objective, NaN last, the earlier told first among equals.
std::vector<std::size_t> best_individuals(std::span<const Individual> told, std::size_t count);

/// λ_i <= λ_{i+1} for all i.
bool is_non_decreasing(std::span<const double> factors);

}  // namespace longrope::search
