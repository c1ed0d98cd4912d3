#include "search/perplexity_evaluator.hpp"

#include <fmt/core.h>
#include <tbb/blocked_range2d.h>
#include <tbb/parallel_for.h>

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

/// One candidate's rotation table: made by its first task, freed by its last.
struct SharedRotation {
  std::mutex mutex;
  std::unique_ptr<kernels::RotationTable> table;
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

PerplexityEvaluator::PerplexityEvaluator(const model::Transformer& transformer, const model::Corpus& corpus,
                                         std::vector<model::Window> windows, kernels::RotationPrecision precision)
    : transformer_(transformer), windows_(std::move(windows)), precision_(precision) {
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
  }
  const auto stopped = [stop] { return stop != nullptr && stop->load(std::memory_order_relaxed); };

  const auto run_task = [&](std::size_t c, std::size_t w) {
    SharedRotation& shared = rotations[c];
    EvalResult& result = results[c];
    const auto started = Clock::now();
    model::NllSum sum{std::numeric_limits<double>::quiet_NaN(), windows_[w].scored_tokens()};
    std::string failure;
    try {
      const kernels::RotationTable* rotation = nullptr;
      {
        const std::lock_guard lock(shared.mutex);
        if (!shared.table) shared.table = transformer_.rotation(tables[c], precision_, longest_);
        rotation = shared.table.get();
      }
      sum = transformer_.score(tokens_[w], windows_[w].first_scored, *rotation);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    const std::lock_guard lock(shared.mutex);
    result.windows[w] = {sum.nll_nats, sum.tokens};
    if (!failure.empty()) {
      result.status = Status::failed;
      if (result.reason.empty()) result.reason = failure;
    }
    result.elapsed_s += std::chrono::duration<double>(Clock::now() - started).count();
    if (--shared.remaining == 0) shared.table.reset();
  };

  // Candidate-major, one (candidate, window) a task; the same order on one thread as in the store.
  using Range = tbb::blocked_range<std::size_t>;
  tbb::parallel_for(
      Range(0, tables.size() * window_count, 1),
      [&](const Range& range) {
        for (std::size_t task = range.begin(); task != range.end(); ++task) {
          if (stopped()) return;
          run_task(task / window_count, task % window_count);
          if (on_task) on_task();
        }
      },
      tbb::simple_partitioner());
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
