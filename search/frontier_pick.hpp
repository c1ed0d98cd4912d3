// One point of a stored frontier, by a rule.
#pragma once

#include <cstdint>
#include <string>

#include "search/store.hpp"

namespace longrope::search {

/// The id a rule picks from the last frontier of a store:
///   best         the best first objective (of all complete candidates)
///   knee         the point farthest below the chord between the frontier's ends, in ln PPL
///   mean         the point with the lowest mean of the objectives' ln PPL, the earliest
///   short:X%     the best first objective among those whose PPL at the shortest length is at most X percent above the
///                unscaled model's there (rope `none`)
///   ppl@N<=X%    the same for a named objective
/// Throws InputError: another rule (listing these), no frontier yet, an objective that the stage does not have, a rule
/// that needs several objectives, or no point that keeps to it (saying how near the nearest is).
std::int64_t pick_from_frontier(const StoreContents& contents, const std::string& rule);

}  // namespace longrope::search
