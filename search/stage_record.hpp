// What a stage knows after each generation: its rows, the best of them, the frontier, what they cost, and the race that
// the next generation runs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/windows.hpp"
#include "search/pareto.hpp"
#include "search/patience.hpp"
#include "search/racing.hpp"
#include "search/store.hpp"

namespace longrope::search {

/// Rows of generation -1, in this order; "none" is scored where there are several objectives: the yardstick of the
/// shorter ones, no candidate.
inline constexpr const char* kBaselineNames[] = {"pi", "ntk", "yarn", "none"};
inline constexpr std::size_t kBaselineCandidates = 3;

/// The names of a stage's rows of generation -1: as it says, or the four above.
std::vector<std::string> baseline_names(const StoreStage& stage);

/// Whether a row may be the best, a point of the frontier or an elite: scored whole, finite, and no yardstick.
bool is_contender(const StoreRow& row);

class StageRecord {
 public:
  /// windows: [K W], see objective_windows.
  StageRecord(std::vector<model::Window> windows, std::size_t objectives);

  void add(std::span<const StoreRow> rows);

  const std::vector<StoreRow>& rows() const { return rows_; }
  const StoreRow& row(std::int64_t id) const { return rows_[static_cast<std::size_t>(id)]; }
  std::int64_t size() const { return std::ssize(rows_); }
  std::int64_t evaluations() const { return evaluations_; }  ///< candidates of the strategy
  double strategy_cost() const { return strategy_cost_; }    ///< of them, full evaluations
  double cost() const { return cost_; }                      ///< of all rows

  std::int64_t best() const { return best_; }  ///< row with the lowest first objective, the earliest; -1: none
  std::int64_t best_baseline() const;          ///< of pi, ntk and yarn
  std::int64_t runner_up() const;  ///< second best candidate of the strategy with another table than the best; -1: none
  double first_objective(std::int64_t id) const;  ///< NaN for -1

  std::vector<StorePoint> frontier() const;
  /// Of the frontier, in ln PPL, below the worst of pi, ntk and yarn in each objective; NaN when none of them is
  /// finite.
  double hypervolume() const;
  Standing standing() const;

  /// A race against what was known before `generation`, so that the parts of a generation that a budget cut race alike;
  /// none: no elite yet.
  std::optional<Race> race_before(std::int32_t generation, double confidence) const;

 private:
  std::vector<model::Window> windows_;
  std::size_t objectives_;
  std::vector<StoreRow> rows_;
  ParetoArchive archive_;  ///< of row numbers
  std::int64_t best_ = -1, evaluations_ = 0;
  double cost_ = 0.0, strategy_cost_ = 0.0;
};

}  // namespace longrope::search
