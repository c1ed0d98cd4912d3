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
#include "search/evaluator.hpp"

namespace longrope::search {

/// exp(mean over documents of the document's mean of window-mean NLL): what microsoft/LongRoPE reports.
double document_mean_perplexity(std::span<const WindowScore> scores, std::span<const model::Window> windows);

class PerplexityEvaluator final : public Evaluator {
 public:
  /// Keeps copies of the windows' tokens; the lanes must outlive this. windows: [W], W >= 1, of any lengths.
  PerplexityEvaluator(const DeviceLanes& lanes, const model::Corpus& corpus, std::vector<model::Window> windows,
                      kernels::RotationPrecision precision);

  const std::vector<model::Window>& windows() const override { return windows_; }
  const std::vector<double>& window_costs() const override { return costs_; }
  /// [W][length]
  const std::vector<std::vector<std::int32_t>>& tokens() const { return tokens_; }
  /// Hex SHA-256 of all window tokens, in order.
  std::string tokens_sha256() const;

  /// (table x window) on the lanes, in groups (group_tasks) whose time its tasks share evenly. A device that fails is
  /// left out while there are others; throws DeviceLanes::run's RuntimeError when the last one does not answer any
  /// more.
  std::vector<TaskScore> score(std::span<const model::RopeTable> tables, std::span<const EvalTask> tasks,
                               const std::function<void()>& on_task, const std::atomic<bool>* stop) const override;

 private:
  const DeviceLanes& lanes_;
  std::vector<model::Window> windows_;
  std::vector<double> costs_;
  std::vector<std::vector<std::int32_t>> tokens_;  ///< [W][length]
  kernels::RotationPrecision precision_;
};

}  // namespace longrope::search
