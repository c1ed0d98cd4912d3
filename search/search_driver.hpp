// One stage from start to end: baselines, then generations of a strategy, each scored and stored before the next.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/model_config.hpp"
#include "search/evaluator.hpp"
#include "search/holdout.hpp"
#include "search/objective.hpp"
#include "search/racing.hpp"
#include "search/space.hpp"
#include "search/stage_record.hpp"
#include "search/store.hpp"
#include "search/strategy.hpp"

namespace longrope::search {

/// Where a stage stands. Costs are in full evaluations.
struct StageProgress {
  std::int32_t generation = -1;  ///< the one in flight; -1: baselines
  std::int64_t evaluations = 0;  ///< candidates of the strategy, finished
  double cost = 0.0;             ///< of the strategy's candidates so far, without baselines
  double budget = 0.0;
  const char* label = "";    ///< of the first objective
  double best = 0.0;         ///< first objective of strategy and baselines; NaN: none yet
  double baseline = 0.0;     ///< best of PI, NTK and YaRN; NaN: not known yet
  double cost_per_s = 0.0;   ///< of this run; 0: not known yet
  double remaining_s = 0.0;  ///< until the budget is spent; NaN: not known yet
};

/// A table scored before the search starts.
struct BaselineTable {
  std::string name;
  model::RopeTable table;
};

struct StageOptions {
  std::filesystem::path store;
  bool resume = false;        ///< continues the stage in the store, if both exist
  bool other_stages = false;  ///< the store may hold other stages; this one is added where it is not there
  StoreHeader header;         ///< what the store says of the job, and what a resumed one must agree with
  std::string strategy;       ///< see strategy_names()
  Space space;
  std::vector<Objective> objectives;   ///< [K], the main one first
  std::int64_t budget = 0;             ///< full evaluations that the strategy may spend, >= 1; baselines come on top
  std::optional<double> racing;        ///< confidence, in (0.5, 1); none: every candidate is scored whole
  double patience = 0.0;               ///< full evaluations without progress that end the search; 0: never
  const Evaluator* holdout = nullptr;  ///< scores best, runner-up and baselines at the end; windows as of objectives
  /// pi, ntk and yarn at the target length (and none) if empty; else kBaselineCandidates of them, one more where there
  /// are several objectives, and header.stage.baselines their names.
  std::vector<BaselineTable> baselines;
  std::string pick = "best";             ///< the candidate that becomes the stage's table, see pick_from_frontier
  std::optional<StoreTable> long_table;  ///< repair: the stage's table becomes the short one beside this
  const std::atomic<bool>* stop = nullptr;
  std::function<void(const StageProgress&)> on_task;        ///< often, from any thread; may be empty
  std::function<void(const StageProgress&)> on_generation;  ///< after each one is stored; may be empty
};

/// Why a stage ended; stored by these names.
enum class StopReason : std::uint8_t { budget, patience, strategy_ended, interrupted };
inline constexpr const char* kStopReasonNames[] = {"budget", "patience", "strategy_ended", "interrupted"};

struct StageResult {
  StoreRow best;                    ///< best first objective of all complete rows, baselines included; id -1: none
  StoreRow chosen;                  ///< what `pick` says; id -1: none
  std::vector<StoreRow> baselines;  ///< pi, ntk, yarn, and with several objectives none; or as the options say
  std::vector<StorePoint> frontier;
  double hypervolume = 0.0;
  std::int64_t evaluations = 0;        ///< candidates of the strategy
  std::int64_t raced_out = 0;          ///< of them
  double cost_full_evaluations = 0.0;  ///< all together
  double strategy_cost = 0.0;          ///< without baselines
  double strategy_s = 0.0;             ///< seconds of this run spent in ask and tell
  double elapsed_s = 0.0;              ///< all runs of the job together
  StopReason stop_reason = StopReason::budget;
  std::optional<HoldoutReport> holdout;

  bool interrupted() const { return stop_reason == StopReason::interrupted; }
};

/// Runs or resumes a stage. A stop request ends it with the store complete. Throws InputError: a strategy or a store
/// that does not fit.
StageResult run_stage(const model::ModelConfig& config, const Evaluator& evaluator, const StageOptions& options);

}  // namespace longrope::search
