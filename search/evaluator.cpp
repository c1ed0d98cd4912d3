#include "search/evaluator.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "search/objective.hpp"

namespace longrope::search {

void conclude(EvalResult& result, std::size_t objectives, const std::string& failed) {
  const std::vector<double> bad(objectives, std::numeric_limits<double>::quiet_NaN());
  if (!failed.empty()) {
    result.status = Status::failed;
    result.reason = failed;
    result.objectives = bad;
    return;
  }
  const auto not_finite = std::find_if(result.windows.begin(), result.windows.end(), [](const WindowScore& score) {
    return score.tokens > 0 && !std::isfinite(score.nll_nats);
  });
  result.objectives = objective_values(result.windows, objectives);
  const bool finite = std::all_of(result.objectives.begin(), result.objectives.end(),
                                  [](double objective) { return std::isfinite(objective); });
  if (finite) return;
  result.status = Status::non_finite;
  result.objectives = bad;
  result.reason = not_finite == result.windows.end()
                      ? "the perplexity overflows"
                      : fmt::format("window {}: the NLL is not finite", not_finite - result.windows.begin());
}

std::vector<EvalResult> evaluate_all(const Evaluator& evaluator, std::span<const model::RopeTable> tables,
                                     std::size_t objectives, const std::function<void()>& on_task,
                                     const std::atomic<bool>* stop) {
  const std::size_t windows = evaluator.windows().size();
  std::vector<EvalTask> tasks;
  for (std::size_t t = 0; t < tables.size(); ++t) {
    for (std::size_t w = 0; w < windows; ++w) tasks.push_back({t, w});
  }
  const std::vector<TaskScore> scores = evaluator.score(tables, tasks, on_task, stop);
  std::vector<EvalResult> results(tables.size());
  for (std::size_t t = 0; t < tables.size(); ++t) {
    EvalResult& result = results[t];
    std::string failed;
    for (std::size_t w = 0; w < windows; ++w) {
      const TaskScore& score = scores[t * windows + w];
      result.windows.push_back(score.score);
      result.elapsed_s += score.elapsed_s;
      if (failed.empty()) failed = score.failure;
    }
    result.cost = 1.0;
    conclude(result, objectives, failed);
  }
  return results;
}

}  // namespace longrope::search
