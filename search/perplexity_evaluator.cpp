#include "search/perplexity_evaluator.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>

#include "kernels/error.hpp"
#include "model/sha256.hpp"
#include "search/evaluation_cost.hpp"
#include "search/task_groups.hpp"

namespace longrope::search {
namespace {

using Clock = std::chrono::steady_clock;

/// One table's rotations, one per lane: made by its first task there, for the longest of its windows, and freed by its
/// last.
struct SharedRotation {
  std::mutex mutex;
  std::vector<std::unique_ptr<kernels::RotationTable>> tables;
  std::size_t remaining = 0;
  std::int64_t longest = 0;
};

}  // namespace

double document_mean_perplexity(std::span<const WindowScore> scores, std::span<const model::Window> windows) {
  std::map<std::int64_t, std::pair<double, double>> documents;  // sum of window means, windows
  for (std::size_t w = 0; w < windows.size(); ++w) {
    auto& [sum, count] = documents[windows[w].document];
    sum += scores[w].nll_nats / static_cast<double>(scores[w].tokens);
    count += 1.0;
  }
  double total = 0.0;
  for (const auto& [document, mean] : documents) total += mean.first / mean.second;
  return std::exp(total / static_cast<double>(documents.size()));
}

PerplexityEvaluator::PerplexityEvaluator(const DeviceLanes& lanes, const model::Corpus& corpus,
                                         std::vector<model::Window> windows, kernels::RotationPrecision precision)
    : lanes_(lanes), windows_(std::move(windows)), precision_(precision) {
  if (windows_.empty()) throw InputError("[windows] must be at least one but got none");
  for (const model::Window& window : windows_) tokens_.push_back(model::window_tokens(corpus, window));
  costs_ = window_cost_shares(lanes_.transformer().config(), windows_);
}

std::string PerplexityEvaluator::tokens_sha256() const {
  std::string digests;
  for (std::size_t w = 0; w < tokens_.size(); ++w) {
    const auto* bytes = reinterpret_cast<const char*>(tokens_[w].data());
    digests += model::sha256_hex({bytes, tokens_[w].size() * sizeof(std::int32_t)});
    digests += fmt::format(" {}\n", windows_[w].first_scored);
  }
  return model::sha256_hex(digests);
}

std::vector<TaskScore> PerplexityEvaluator::score(std::span<const model::RopeTable> tables,
                                                  std::span<const EvalTask> tasks, const std::function<void()>& on_task,
                                                  const std::atomic<bool>* stop) const {
  std::vector<TaskScore> scores(tasks.size());
  std::vector<SharedRotation> rotations(tables.size());
  for (const EvalTask& task : tasks) {
    SharedRotation& rotation = rotations.at(task.table);
    ++rotation.remaining;
    rotation.longest = std::max(rotation.longest, windows_.at(task.window).length);
    rotation.tables.resize(lanes_.size());
  }
  const auto stopped = [stop] { return stop != nullptr && stop->load(std::memory_order_relaxed); };

  const auto finish = [&](std::size_t t, TaskScore score) {
    scores[t] = std::move(score);
    SharedRotation& shared = rotations[tasks[t].table];
    {
      const std::lock_guard lock(shared.mutex);
      if (--shared.remaining == 0) shared.tables.clear();
    }
    if (on_task) on_task();
  };
  const auto not_scored = [&](std::size_t t, const std::string& reason) {
    TaskScore score;
    score.score = {std::numeric_limits<double>::quiet_NaN(), windows_[tasks[t].window].scored_tokens()};
    score.failure = reason;
    return score;
  };
  const auto rotation_of = [&](std::size_t table, std::size_t lane) -> const kernels::RotationTable* {
    SharedRotation& shared = rotations[table];
    const std::lock_guard lock(shared.mutex);
    auto& rotation = shared.tables[lane];
    if (!rotation) rotation = lanes_.lane(lane).transformer->rotation(tables[table], precision_, shared.longest);
    return rotation.get();
  };

  std::vector<std::int64_t> lengths;
  for (const model::Window& window : windows_) lengths.push_back(window.length);
  const auto groups = group_tasks(
      lengths, tasks, [&](std::int64_t length) { return lanes_.transformer().sequences_at_once(length); },
      lanes_.workers());

  const auto run_group = [&](std::size_t g, std::size_t lane) {
    const auto started = Clock::now();
    std::vector<TaskScore> results;
    std::vector<model::Sequence> sequences;
    std::vector<std::size_t> sequence_of;  // which result each is
    for (const std::size_t t : groups[g]) {
      const std::size_t window = tasks[t].window;
      results.push_back(not_scored(t, ""));
      try {
        sequences.push_back({tokens_[window], windows_[window].first_scored, rotation_of(tasks[t].table, lane)});
        sequence_of.push_back(results.size() - 1);
      } catch (const RuntimeError&) {
        throw;  // the device's fault: another may take the tasks
      } catch (const std::exception& error) {
        results.back().failure = error.what();
      }
    }
    try {
      const std::vector<model::NllSum> sums = lanes_.lane(lane).transformer->score(sequences);
      for (std::size_t s = 0; s < sums.size(); ++s) results[sequence_of[s]].score = {sums[s].nll_nats, sums[s].tokens};
    } catch (const RuntimeError&) {
      throw;
    } catch (const std::exception& error) {
      for (const std::size_t r : sequence_of) results[r].failure = error.what();
    }
    const double elapsed_s = std::chrono::duration<double>(Clock::now() - started).count();
    for (std::size_t r = 0; r < results.size(); ++r) {
      results[r].elapsed_s = elapsed_s / static_cast<double>(results.size());
      finish(groups[g][r], std::move(results[r]));
    }
  };
  const auto fail = [&](std::size_t g, const std::string& reason) {
    for (const std::size_t t : groups[g]) finish(t, not_scored(t, reason));
  };

  lanes_.run(groups.size(), run_group, fail, stop);
  if (stopped()) throw Interrupted("[evaluate] stopped by a signal");
  return scores;
}

}  // namespace longrope::search
