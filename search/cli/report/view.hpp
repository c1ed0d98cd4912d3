// What a report's sections know of a stage: its rows by role, names and colours, and the sections themselves, each of
// which is a function from stages to markup ("" where there is nothing to show).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "search/objective.hpp"
#include "search/store.hpp"

namespace longrope::cli {

/// One stage of a store. Views into the contents and tables, which outlive it.
struct StageView {
  const search::StoreContents* contents = nullptr;
  const search::StoreTable* table = nullptr;  ///< of its name in /tables; null: none yet
  const search::StoreRow* best = nullptr;     ///< lowest first objective so far; null: none yet
  const search::StoreRow* chosen = nullptr;   ///< the row its table was made of (best, or what a rule picked)
  std::vector<search::Objective> objectives;  ///< [K]
  struct Baseline {
    std::string name;
    const search::StoreRow* row;
  };
  std::vector<Baseline> baselines;

  const search::StoreHeader& header() const { return contents->header; }
  const std::vector<search::StoreRow>& rows() const { return contents->rows; }
  const std::string& name() const { return contents->header.stage.name; }
  std::int64_t evaluations() const;  ///< candidates of the strategy
  double cost() const;               ///< full evaluations, baselines included
  double elapsed_s() const;
  std::size_t windows() const;  ///< of each objective
  /// The lowest finite first objective among pi, ntk and yarn (repair: what it starts from); null: none.
  const Baseline* best_baseline() const;
  /// Best first objective of what was committed before a generation; null: nothing complete.
  const search::StoreRow* elite_before(std::int32_t generation) const;
};

/// Throws InputError for objectives that are none.
std::vector<StageView> view_stages(const std::vector<search::StoreContents>& stages,
                                   const std::vector<search::StoreTable>& tables);

/// Colour class of a curve, by its name: the same in every chart.
std::string colour_of(const std::string& name);
/// "pi" -> "PI", "yarn" -> "YaRN"; others as they are.
std::string shown_name(const std::string& name);
/// "perplexity", "key-token perplexity", "needle perplexity".
std::string shown_measure(const search::Objective& objective);
/// "3.1901 (id 37, generation 4, model)".
std::string describe(const search::StoreRow& row);
/// A ratio as the difference to 1: "+2.31%".
std::string percent(double ratio);
/// Key of a figure: STAGE.WHAT.
std::string key_of(const StageView& stage, const std::string& what);
/// The first pair that turns less than once within L0: LongRoPE2's critical dimension over two
/// (Space::critical_pair_of); none where theta gives none.
std::optional<std::int64_t> critical_pair(const search::StoreModel& model);
/// Dots of one chart, at most.
inline constexpr std::size_t kMaxDots = 1500;
/// Every n-th position of `count`, at most `limit` of them.
std::vector<std::size_t> thinned(std::size_t count, std::size_t limit);

// Sections, in the order of the page.
std::string overview_section(const std::string& file, const std::vector<StageView>& stages);
std::string cost_chart(const std::vector<StageView>& stages);
std::string length_chart(const std::vector<StageView>& stages);
std::string repair_card(const StageView& stage);
std::string factor_chart(const StageView& stage);
std::string factor_table(const StageView& stage);
std::string progress_chart(const StageView& stage);
std::string frontier_charts(const StageView& stage);
std::string racing_charts(const StageView& stage);
std::string failures_card(const StageView& stage);
std::string holdout_card(const StageView& stage);

}  // namespace longrope::cli
