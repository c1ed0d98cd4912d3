// Joins search to model: RopeTables in, EvalResults out. The only file of this layer that runs a forward pass.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/documents.hpp"
#include "model/windows.hpp"
#include "search/candidate.hpp"
#include "search/device_lanes.hpp"

namespace longrope::search {

/// exp(sum of NLL / tokens); NaN if any window is.
double token_weighted_perplexity(std::span<const WindowScore> scores);

/// exp(mean over documents of the document's mean of window-mean NLL): what microsoft/LongRoPE reports.
double document_mean_perplexity(std::span<const WindowScore> scores, std::span<const model::Window> windows);

class PerplexityEvaluator {
 public:
  /// Keeps copies of the windows' tokens; the lanes must outlive this. windows: [W], W >= 1.
  PerplexityEvaluator(const DeviceLanes& lanes, const model::Corpus& corpus, std::vector<model::Window> windows,
                      kernels::RotationPrecision precision);

  const std::vector<model::Window>& windows() const { return windows_; }
  /// Hex SHA-256 of all window tokens, in order.
  std::string tokens_sha256() const;

  /// Scores every table on every window, (table x window) in parallel on the lanes; results do not depend on the number
  /// of threads nor on which tables go together. A table that fails is a result with a status and a reason; a device
  /// that fails is left out while there are others (DeviceLanes::run, whose RuntimeError this throws too). on_task (may
  /// be empty) is called after each finished (table, window), from any thread. Throws Interrupted when *stop becomes
  /// true (checked between tasks); stop may be null.
  std::vector<EvalResult> evaluate(std::span<const model::RopeTable> tables, const std::function<void()>& on_task,
                                   const std::atomic<bool>* stop) const;

 private:
  const DeviceLanes& lanes_;
  std::vector<model::Window> windows_;
  std::vector<std::vector<std::int32_t>> tokens_;  ///< [W][length]
  std::int64_t longest_ = 0;
  kernels::RotationPrecision precision_;
};

}  // namespace longrope::search
