// Scores tables on windows. The interface through which the driver sees a model; tests put an analytic function behind
// it.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/rope_table.hpp"
#include "model/windows.hpp"
#include "search/candidate.hpp"

namespace longrope::search {

/// One table on one window: positions in the lists given.
struct EvalTask {
  std::size_t table = 0;
  std::size_t window = 0;
};

struct TaskScore {
  WindowScore score;       ///< NaN NLL: not finite, or failed
  std::string failure;     ///< why the task failed; empty: it did not
  double elapsed_s = 0.0;  ///< wall-clock seconds; of tasks that ran together, each its share
};

class Evaluator {
 public:
  virtual ~Evaluator() = default;

  virtual const std::vector<model::Window>& windows() const = 0;
  /// What each window costs as a share of one full evaluation, that is of all windows: [W], sum 1.
  virtual const std::vector<double>& window_costs() const = 0;

  /// Scores of the tasks, in their order, computed in parallel; they do not depend on the number of threads nor on
  /// which tasks go together. on_task (may be empty) is called once for each, from any thread. Throws Interrupted when
  /// *stop becomes true (checked now and then); stop may be null.
  virtual std::vector<TaskScore> score(std::span<const model::RopeTable> tables, std::span<const EvalTask> tasks,
                                       const std::function<void()>& on_task, const std::atomic<bool>* stop) const = 0;
};

/// Every table on every window. A table that fails is a result with a status and a reason. `objectives`: K.
std::vector<EvalResult> evaluate_all(const Evaluator& evaluator, std::span<const model::RopeTable> tables,
                                     std::size_t objectives, const std::function<void()>& on_task,
                                     const std::atomic<bool>* stop);

/// Sets status, reason and objectives of a result whose windows are all scored, from them; `failed`: the reason of a
/// task that failed, or empty.
void conclude(EvalResult& result, std::size_t objectives, const std::string& failed);

}  // namespace longrope::search
