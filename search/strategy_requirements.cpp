#include "search/strategy_requirements.hpp"

#include <fmt/format.h>

#include <utility>

#include "kernels/error.hpp"

namespace longrope::search {
namespace {

const char* name_of(FactorBounds bounds) { return bounds == FactorBounds::longrope ? "longrope" : "longrope2"; }

}  // namespace

StrategyRequirements strategy_requirements(const std::string& name) {
  StrategyRequirements r;
  if (name == "paper-ga" || name == "release-ga" || name == "piece-ga") {
    r.bounds = FactorBounds::longrope;
    r.attention_factor = false;
    r.start_tokens = name == "paper-ga";
    r.tolerant = r.free = name == "piece-ga";
    r.min_pairs = name == "piece-ga" ? 4 : 1;
    r.first_objective_only = true;
  } else if (name == "longrope2-ga") {
    r.bounds = FactorBounds::longrope2;
    r.critical = CriticalDimension::searched;
    r.tolerant = r.free = r.start_tokens = r.attention_factor = false;
    r.first_objective_only = true;
  }
  return r;
}

void check_space(const std::string& strategy, const Space& space) {
  const StrategyRequirements r = strategy_requirements(strategy);
  const auto refuse = [&](const std::string& what) { throw InputError(fmt::format("[search] {} {}", strategy, what)); };
  if (r.bounds && space.bounds != *r.bounds) {
    refuse(fmt::format("searches factors within the {} bounds only but the space has {} bounds", name_of(*r.bounds),
                       name_of(space.bounds)));
  }
  if (space.monotonicity == Monotonicity::tolerant && !r.tolerant)
    refuse("searches monotone factors only but the space is monotone with a tolerance");
  if (space.monotonicity == Monotonicity::free && !r.free)
    refuse("searches monotone factors only but the space is free");
  if (space.search_start_tokens && !r.start_tokens) refuse("cannot search start_tokens (give a number)");
  if (space.search_attention_factor && !r.attention_factor)
    refuse("cannot search the attention factor (give a number)");
  if (space.geometry.pairs() < r.min_pairs) {
    refuse(fmt::format("needs a rotary_dim of at least {} but got {}", 2 * r.min_pairs, space.geometry.rotary_dim));
  }
}

Space original_space(const std::string& strategy, Space space) {
  const StrategyRequirements r = strategy_requirements(strategy);
  if (r.bounds) space.bounds = *r.bounds;
  if (r.critical) space.critical = *r.critical;
  return space;
}

}  // namespace longrope::search
