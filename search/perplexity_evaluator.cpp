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

namespace longrope::search {
namespace {

using Clock = std::chrono::steady_clock;

/// One candidate's rotation tables, one per lane: made by its first task there, freed by its last.
struct SharedRotation {
  std::mutex mutex;
  std::vector<std::unique_ptr<kernels::RotationTable>> tables;
  std::size_t remaining = 0;
};

}  // namespace

double token_weighted_perplexity(std::span<const WindowScore> scores) {
  double nll_nats = 0.0;
  std::int64_t tokens = 0;
  for (const WindowScore& score : scores) {
    nll_nats += score.nll_nats;
    tokens += score.tokens;
  }
  return std::exp(nll_nats / static_cast<double>(tokens));
}

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
  for (const model::Window& window : windows_) {
    tokens_.push_back(model::window_tokens(corpus, window));
    longest_ = std::max(longest_, window.length);
  }
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

std::vector<EvalResult> PerplexityEvaluator::evaluate(std::span<const model::RopeTable> tables,
                                                      const std::function<void()>& on_task,
                                                      const std::atomic<bool>* stop) const {
  const std::size_t window_count = windows_.size();
  std::vector<EvalResult> results(tables.size());
  std::vector<SharedRotation> rotations(tables.size());
  for (std::size_t c = 0; c < tables.size(); ++c) {
    results[c].windows.resize(window_count);
    rotations[c].remaining = window_count;
    rotations[c].tables.resize(lanes_.size());
  }
  const auto stopped = [stop] { return stop != nullptr && stop->load(std::memory_order_relaxed); };

  const auto finish = [&](std::size_t task, const model::NllSum& sum, const std::string& failure, double elapsed_s) {
    const std::size_t c = task / window_count;
    SharedRotation& shared = rotations[c];
    EvalResult& result = results[c];
    {
      const std::lock_guard lock(shared.mutex);
      result.windows[task % window_count] = {sum.nll_nats, sum.tokens};
      if (!failure.empty()) {
        result.status = Status::failed;
        if (result.reason.empty()) result.reason = failure;
      }
      result.elapsed_s += elapsed_s;
      if (--shared.remaining == 0) shared.tables.clear();
    }
    if (on_task) on_task();
  };
  const auto no_sum = [&](std::size_t task) {
    return model::NllSum{std::numeric_limits<double>::quiet_NaN(), windows_[task % window_count].scored_tokens()};
  };

  const auto run_task = [&](std::size_t task, std::size_t lane) {
    const std::size_t c = task / window_count;
    const std::size_t w = task % window_count;
    const model::Transformer& transformer = *lanes_.lane(lane).transformer;
    SharedRotation& shared = rotations[c];
    const auto started = Clock::now();
    model::NllSum sum = no_sum(task);
    std::string failure;
    try {
      const kernels::RotationTable* rotation = nullptr;
      {
        const std::lock_guard lock(shared.mutex);
        auto& table = shared.tables[lane];
        if (!table) table = transformer.rotation(tables[c], precision_, longest_);
        rotation = table.get();
      }
      sum = transformer.score(tokens_[w], windows_[w].first_scored, *rotation);
    } catch (const RuntimeError&) {
      throw;  // the device's fault: another may take the task
    } catch (const std::exception& error) {
      failure = error.what();
    }
    finish(task, sum, failure, std::chrono::duration<double>(Clock::now() - started).count());
  };
  // Candidate-major, one (candidate, window) a task; the same order on one thread as in the store.
  lanes_.run(
      tables.size() * window_count, run_task,
      [&](std::size_t task, const std::string& reason) { finish(task, no_sum(task), reason, 0.0); }, stop);
  if (stopped()) throw Interrupted("[evaluate] stopped by a signal");

  for (EvalResult& result : results) {
    result.cost = 1.0;
    result.objective = token_weighted_perplexity(result.windows);
    if (result.status != Status::ok) {
      result.objective = std::numeric_limits<double>::quiet_NaN();
    } else if (!std::isfinite(result.objective)) {
      result.status = Status::non_finite;
      result.objective = std::numeric_limits<double>::quiet_NaN();
      const auto bad = std::find_if(result.windows.begin(), result.windows.end(),
                                    [](const WindowScore& score) { return !std::isfinite(score.nll_nats); });
      result.reason = bad == result.windows.end()
                          ? "the perplexity overflows"
                          : fmt::format("window {}: the NLL is not finite", bad - result.windows.begin());
    }
  }
  return results;
}

}  // namespace longrope::search
