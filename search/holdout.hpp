// The honest end of a search: its best table, the runner-up and the baselines, scored once on text that the search
// never saw, with paired standard errors and the answer in words. A search that overfits its windows shows here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/documents.hpp"
#include "model/windows.hpp"
#include "search/objective_windows.hpp"
#include "search/paired_difference.hpp"
#include "search/store.hpp"

namespace longrope::search {

/// Throws InputError when a holdout document has the tokens of a search document, or a holdout window those of a search
/// window.
void require_new_text(const model::Corpus& search, const ObjectiveWindows& search_windows, const model::Corpus& holdout,
                      const ObjectiveWindows& holdout_windows);

/// The best table's mean NLL minus another's, on the first objective's holdout windows; negative: the best is better.
struct HoldoutDifference {
  std::string to;  ///< name of the other row
  PairedDifference difference;
  bool significant = false;  ///< two-sided, 95%, Student's t with clusters - 1 degrees of freedom
};

struct HoldoutReport {
  std::vector<StoreHoldoutRow> rows;             ///< best, runner_up where there is one, pi, ntk, yarn
  std::optional<HoldoutDifference> to_baseline;  ///< the baseline that is best on the holdout; none: no finite score
  std::optional<HoldoutDifference> to_runner_up;
  double search_gain = 0.0;   ///< relative fall of the perplexity against that baseline, on the search windows
  double holdout_gain = 0.0;  ///< the same on the holdout; NaN: unknown
  bool overfitted = false;    ///< less than half of search_gain holds
  std::string verdict;        ///< all this in words
};

/// rows: as in HoldoutReport, scored. windows: those of the holdout [K W]; search_values: the rows' first objectives on
/// the search windows.
HoldoutReport judge_holdout(std::vector<StoreHoldoutRow> rows, std::span<const model::Window> windows,
                            std::span<const double> search_values);

/// The same from what a store holds; none: no holdout was scored.
std::optional<HoldoutReport> stored_holdout(const StoreContents& contents);

}  // namespace longrope::search
