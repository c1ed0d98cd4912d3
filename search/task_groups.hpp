// Which evaluations go through the model together: tables of one window first, for they share its first layer's
// projection (DESIGN section 5), windows of one length where there are few tables, and no more than leave every thread
// something to do, unless that leaves a product short of rows. Decides no score.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "search/evaluator.hpp"

namespace longrope::search {

/// Positions in `tasks`, every one once, in groups that are to be run in this order; all windows of a group have the
/// same length. lengths: of each window, in tokens. at_once(length): the most tasks of a group, >= 1. workers: how many
/// groups run at once, >= 1. Where groups are single tasks, they keep their order; else tables come in runs of a
/// group's size, so that no more than a few tables' rotations are needed at a time.
std::vector<std::vector<std::size_t>> group_tasks(std::span<const std::int64_t> lengths,
                                                  std::span<const EvalTask> tasks,
                                                  const std::function<std::int64_t(std::int64_t)>& at_once,
                                                  std::int64_t workers);

}  // namespace longrope::search
