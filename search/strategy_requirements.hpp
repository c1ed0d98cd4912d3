// What each strategy can search of what a space may declare. The baselines are what their originals are; a space they
// cannot express is refused, in this one place, rather than searched in another way than it says.
#pragma once

#include <optional>
#include <string>

#include "search/space.hpp"

namespace longrope::search {

struct StrategyRequirements {
  std::optional<FactorBounds> bounds;         ///< the only bounds it can search; none: all
  std::optional<CriticalDimension> critical;  ///< where its original has the critical dimension from; others work too
  bool tolerant = true;                       ///< Monotonicity::tolerant
  bool free = true;                           ///< Monotonicity::free
  bool start_tokens = true;                   ///< search_start_tokens
  bool attention_factor = true;               ///< search_attention_factor
  std::int64_t min_pairs = 1;                 ///< fewer leave it nothing to search
  bool first_objective_only = false;          ///< of several objectives it sees only the first; not refused
};

/// Those of strategy `name`; a name not listed here can do everything.
StrategyRequirements strategy_requirements(const std::string& name);

/// Throws InputError, one line that names the strategy and what it cannot search.
void check_space(const std::string& strategy, const Space& space);

/// `space` with the bounds and the source of the critical dimension that the original of `strategy` has: the defaults
/// that a caller's explicit choices then replace.
Space original_space(const std::string& strategy, Space space);

}  // namespace longrope::search
