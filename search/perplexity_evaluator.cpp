#include "search/perplexity_evaluator.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

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

/// Tasks that one forward pass scores: windows of the same tokens under one table.
struct Job {
  std::size_t pass = 0;
  std::vector<std::size_t> tasks;
};

std::vector<std::vector<std::int32_t>> tokens_of(const model::Corpus& corpus, std::span<const model::Window> windows) {
  std::vector<std::vector<std::int32_t>> tokens;
  for (const model::Window& window : windows) tokens.push_back(model::window_tokens(corpus, window));
  return tokens;
}

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
    : PerplexityEvaluator(lanes, windows, tokens_of(corpus, windows), precision) {}

PerplexityEvaluator::PerplexityEvaluator(const DeviceLanes& lanes, std::vector<model::Window> windows,
                                         std::vector<std::vector<std::int32_t>> tokens,
                                         kernels::RotationPrecision precision)
    : lanes_(lanes), windows_(std::move(windows)), tokens_(std::move(tokens)), precision_(precision) {
  if (windows_.empty()) throw InputError("[windows] must be at least one but got none");
  passes_ = join_windows(windows_, tokens_);
  pass_of_.resize(windows_.size());
  for (std::size_t p = 0; p < passes_.size(); ++p) {
    for (const std::size_t w : passes_[p].windows) pass_of_[w] = p;
  }
  costs_ = window_cost_shares(lanes_.transformer().config(), passes_);
}

std::string PerplexityEvaluator::tokens_sha256() const {
  std::string digests;
  for (std::size_t w = 0; w < tokens_.size(); ++w) {
    const auto* bytes = reinterpret_cast<const char*>(tokens_[w].data());
    digests += model::sha256_hex({bytes, tokens_[w].size() * sizeof(std::int32_t)});
    digests += fmt::format(" {}", windows_[w].first_scored);
    const auto& targets = windows_[w].targets;
    if (!targets.empty()) {
      const auto* positions = reinterpret_cast<const char*>(targets.data());
      digests += " " + model::sha256_hex({positions, targets.size() * sizeof(std::int64_t)});
    }
    digests += "\n";
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
  for (const WindowPass& pass : passes_) lengths.push_back(pass.scored.length);
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> job_of;  // table, pass
  std::vector<Job> jobs;
  std::vector<EvalTask> passes;  // what the jobs are to group_tasks: a pass in place of a window
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const std::size_t pass = pass_of_[tasks[t].window];
    const auto [found, fresh] = job_of.try_emplace({tasks[t].table, pass}, jobs.size());
    if (fresh) {
      jobs.push_back({pass, {}});
      passes.push_back({tasks[t].table, pass});
    }
    jobs[found->second].tasks.push_back(t);
  }
  const auto groups = group_tasks(
      lengths, passes, [&](std::int64_t length) { return lanes_.transformer().sequences_at_once(length); },
      lanes_.workers());
  // What a job's pass scores: its window's targets, or those of all windows of the pass.
  const auto scored_by = [&](const Job& job) -> const model::Window& {
    return job.tasks.size() == 1 ? windows_[tasks[job.tasks.front()].window] : passes_[job.pass].scored;
  };

  const auto run_group = [&](std::size_t g, std::size_t lane) {
    const auto started = Clock::now();
    std::vector<std::string> failures(groups[g].size());
    std::vector<model::Sequence> sequences;
    std::vector<std::size_t> sequence_of;  // which of the group's jobs each is
    for (std::size_t j = 0; j < groups[g].size(); ++j) {
      const Job& job = jobs[groups[g][j]];
      const model::Window& scored = scored_by(job);
      try {
        sequences.push_back({tokens_[passes_[job.pass].windows.front()], scored.first_scored,
                             rotation_of(tasks[job.tasks.front()].table, lane), scored.targets});
        sequence_of.push_back(j);
      } catch (const RuntimeError&) {
        throw;  // the device's fault: another may take the tasks
      } catch (const std::exception& error) {
        failures[j] = error.what();
      }
    }
    std::vector<std::vector<double>> nll(groups[g].size());
    try {
      std::vector<std::vector<double>> values = lanes_.lane(lane).transformer->token_nll(sequences);
      for (std::size_t s = 0; s < values.size(); ++s) nll[sequence_of[s]] = std::move(values[s]);
    } catch (const RuntimeError&) {
      throw;
    } catch (const std::exception& error) {
      for (const std::size_t j : sequence_of) failures[j] = error.what();
    }
    const double elapsed_s = std::chrono::duration<double>(Clock::now() - started).count();
    for (std::size_t j = 0; j < groups[g].size(); ++j) {
      const Job& job = jobs[groups[g][j]];
      for (const std::size_t t : job.tasks) {
        TaskScore score = not_scored(t, failures[j]);
        if (failures[j].empty()) {
          const model::NllSum sum = sum_of_window(windows_[tasks[t].window], scored_by(job), nll[j]);
          score.score = {sum.nll_nats, sum.tokens};
        }
        score.elapsed_s = elapsed_s / static_cast<double>(groups[g].size() * job.tasks.size());
        finish(t, std::move(score));
      }
    }
  };
  const auto fail = [&](std::size_t g, const std::string& reason) {
    for (const std::size_t j : groups[g]) {
      for (const std::size_t t : jobs[j].tasks) finish(t, not_scored(t, reason));
    }
  };

  lanes_.run(groups.size(), run_group, fail, stop);
  if (stopped()) throw Interrupted("[evaluate] stopped by a signal");
  return scores;
}

}  // namespace longrope::search
