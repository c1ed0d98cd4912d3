// One stage from start to end: baselines, then generations of a strategy, each scored and stored before the next.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "search/perplexity_evaluator.hpp"
#include "search/space.hpp"
#include "search/store.hpp"
#include "search/strategy.hpp"

namespace longrope::search {

/// Where a stage stands.
struct StageProgress {
  std::int32_t generation = -1;    ///< the one in flight; -1: baselines
  std::int64_t evaluations = 0;    ///< of the strategy, finished
  std::int64_t budget = 0;         ///< evaluations at most
  double best_ppl = 0.0;           ///< of strategy and baselines; NaN: none yet
  double baseline_ppl = 0.0;       ///< best of PI, NTK and YaRN; NaN: not known yet
  double evaluations_per_s = 0.0;  ///< of this run; 0: not known yet
  double remaining_s = 0.0;        ///< NaN: not known yet
};

struct StageOptions {
  std::filesystem::path store;
  bool resume = false;
  StoreHeader header;    ///< what the store says of the job, and what a resumed one must agree with
  std::string strategy;  ///< see strategy_names()
  Space space;
  std::int64_t budget = 0;  ///< evaluations of the strategy, >= 1
  const std::atomic<bool>* stop = nullptr;
  std::function<void(const StageProgress&)> on_task;        ///< often, from any thread; may be empty
  std::function<void(const StageProgress&)> on_generation;  ///< after each one is stored; may be empty
};

struct StageResult {
  StoreRow best;                    ///< lowest objective of all rows, baselines included
  std::vector<StoreRow> baselines;  ///< pi, ntk, yarn
  std::int64_t evaluations = 0;     ///< of the strategy
  double cost_full_evaluations = 0.0;
  double elapsed_s = 0.0;  ///< all runs of the job together
  bool interrupted = false;
};

inline constexpr const char* kBaselineNames[] = {"pi", "ntk", "yarn"};

/// The space of a stage: formulas at scale target/L0, attention factor sqrt(1 + ln s / ln L0) unless given.
Space make_space(const model::ModelConfig& config, std::int64_t target_length);

/// Runs or resumes a stage. A stop request ends it with the store complete and `interrupted` set.
StageResult run_stage(const model::Transformer& transformer, const PerplexityEvaluator& evaluator,
                      const StageOptions& options);

}  // namespace longrope::search
