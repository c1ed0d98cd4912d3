// Joins search to model: RopeTables in, EvalResults out. Beside it, key_tokens and needle_runner run forward passes.
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
#include "search/window_passes.hpp"

namespace longrope::search {

/// exp(mean over documents of the document's mean of window-mean NLL): what microsoft/LongRoPE reports.
double document_mean_perplexity(std::span<const WindowScore> scores, std::span<const model::Window> windows);

class PerplexityEvaluator final : public Evaluator {
 public:
  /// Keeps copies of the windows' tokens; the lanes must outlive this. windows: [W], W >= 1, of any lengths.
  PerplexityEvaluator(const DeviceLanes& lanes, const model::Corpus& corpus, std::vector<model::Window> windows,
                      kernels::RotationPrecision precision);

  /// The same with the windows' tokens given, [W][length], which need not stand in a corpus.
  PerplexityEvaluator(const DeviceLanes& lanes, std::vector<model::Window> windows,
                      std::vector<std::vector<std::int32_t>> tokens, kernels::RotationPrecision precision);

  const std::vector<model::Window>& windows() const override { return windows_; }
  const std::vector<double>& window_costs() const override { return costs_; }
  /// [W][length]
  const std::vector<std::vector<std::int32_t>>& tokens() const { return tokens_; }
  /// Hex SHA-256 of all window tokens, in order, and of what is scored of them.
  std::string tokens_sha256() const;

  /// (table x pass) on the lanes, in groups (group_tasks) whose time its tasks share evenly: windows of the same tokens
  /// are scored by one forward pass where they are asked for together (join_windows). A device that fails is
  /// left out while there are others; throws DeviceLanes::run's RuntimeError when the last one does not answer any
  /// more.
  std::vector<TaskScore> score(std::span<const model::RopeTable> tables, std::span<const EvalTask> tasks,
                               const std::function<void()>& on_task, const std::atomic<bool>* stop) const override;

 private:
  const DeviceLanes& lanes_;
  std::vector<model::Window> windows_;
  std::vector<double> costs_;
  std::vector<std::vector<std::int32_t>> tokens_;  ///< [W][length]
  std::vector<WindowPass> passes_;
  std::vector<std::size_t> pass_of_;  ///< [W]
  kernels::RotationPrecision precision_;
};

}  // namespace longrope::search
