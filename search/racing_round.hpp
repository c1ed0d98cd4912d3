// Scores a generation while racing it: rung by rung, dropping what cannot reach the elite.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "search/evaluator.hpp"
#include "search/racing.hpp"

namespace longrope::search {

/// Results of the tables, in order. Rung r scores the next windows of every objective for all tables still in the race,
/// in parallel; a table that fails, whose NLL is not finite, or that the race drops is scored no further. Its cost is
/// the share of what was scored; windows not scored are NaN with 0 tokens. Whatever else is scored with it, a table's
/// result is the same. Throws as Evaluator::score.
std::vector<EvalResult> evaluate_racing(const Evaluator& evaluator, std::span<const model::RopeTable> tables,
                                        std::size_t objectives, const Race& race, const std::function<void()>& on_task,
                                        const std::atomic<bool>* stop);

}  // namespace longrope::search
