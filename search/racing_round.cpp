#include "search/racing_round.hpp"

#include <cmath>
#include <limits>
#include <numeric>

#include "search/objective.hpp"

namespace longrope::search {
namespace {

/// Takes the scores of one table's tasks into its result; false: it is out.
bool take(EvalResult& result, std::span<const EvalTask> tasks, std::span<const TaskScore> scores,
          const std::vector<double>& costs, std::size_t objectives) {
  std::string failed;
  bool finite = true;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    result.windows[tasks[t].window] = scores[t].score;
    result.cost += costs[tasks[t].window];
    result.elapsed_s += scores[t].elapsed_s;
    finite = finite && std::isfinite(scores[t].score.nll_nats);
    if (failed.empty()) failed = scores[t].failure;
  }
  if (finite && failed.empty()) return true;
  conclude(result, objectives, failed);
  return false;
}

}  // namespace

std::vector<EvalResult> evaluate_racing(const Evaluator& evaluator, std::span<const model::RopeTable> tables,
                                        std::size_t objectives, const Race& race, const std::function<void()>& on_task,
                                        const std::atomic<bool>* stop) {
  const std::size_t windows = evaluator.windows().size(), each = windows / objectives;
  std::vector<EvalResult> results(tables.size());
  for (EvalResult& result : results) {
    result.windows.assign(windows, {std::numeric_limits<double>::quiet_NaN(), 0});
  }
  std::vector<std::size_t> racing(tables.size());
  std::iota(racing.begin(), racing.end(), std::size_t{0});
  std::vector<std::size_t> ends = race.rungs();
  ends.push_back(each);
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    std::vector<EvalTask> tasks;
    for (const std::size_t table : racing) {
      for (std::size_t k = 0; k < objectives; ++k) {
        for (std::size_t w = begin; w < end; ++w) tasks.push_back({table, k * each + w});
      }
    }
    const std::vector<TaskScore> scores = evaluator.score(tables, tasks, on_task, stop);
    const std::size_t per_table = objectives * (end - begin);
    std::vector<std::size_t> left;
    for (std::size_t i = 0; i < racing.size(); ++i) {
      EvalResult& result = results[racing[i]];
      const bool sound =
          take(result, std::span(tasks).subspan(i * per_table, per_table),
               std::span(scores).subspan(i * per_table, per_table), evaluator.window_costs(), objectives);
      if (!sound) continue;
      if (end == each) {
        result.cost = 1.0;
        conclude(result, objectives, "");
      } else if (const auto estimates = race.drop(result.windows, end)) {
        result.status = Status::raced_out;
        result.objectives = *estimates;
      } else {
        left.push_back(racing[i]);
      }
    }
    racing = std::move(left);
    begin = end;
    if (racing.empty()) break;
  }
  return results;
}

}  // namespace longrope::search
