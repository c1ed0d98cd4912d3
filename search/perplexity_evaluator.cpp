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
  const auto not_scored = [&](std::size_t t) {
    TaskScore score;
    score.score = {std::numeric_limits<double>::quiet_NaN(), windows_[tasks[t].window].scored_tokens()};
    return score;
  };
  const auto run_task = [&](std::size_t t, std::size_t lane) {
    const EvalTask& task = tasks[t];
    const model::Window& window = windows_[task.window];
    const model::Transformer& transformer = *lanes_.lane(lane).transformer;
    SharedRotation& shared = rotations[task.table];
    const auto started = Clock::now();
    TaskScore result = not_scored(t);
    try {
      const kernels::RotationTable* rotation = nullptr;
      {
        const std::lock_guard lock(shared.mutex);
        auto& table = shared.tables[lane];
        if (!table) table = transformer.rotation(tables[task.table], precision_, shared.longest);
        rotation = table.get();
      }
      const model::NllSum sum = transformer.score(tokens_[task.window], window.first_scored, *rotation);
      result.score = {sum.nll_nats, sum.tokens};
    } catch (const RuntimeError&) {
      throw;  // the device's fault: another may take the task
    } catch (const std::exception& error) {
      result.failure = error.what();
    }
    result.elapsed_s = std::chrono::duration<double>(Clock::now() - started).count();
    finish(t, std::move(result));
  };
  const auto fail = [&](std::size_t t, const std::string& reason) {
    TaskScore score = not_scored(t);
    score.failure = reason;
    finish(t, std::move(score));
  };

  lanes_.run(tasks.size(), run_task, fail, stop);
  if (stopped()) throw Interrupted("[evaluate] stopped by a signal");
  return scores;
}

}  // namespace longrope::search
