// The cells of a needle run: lengths x depths x trials under each scaling. Depths as gkamradt's
// LLMTest_NeedleInAHaystack spreads them (document_depth_percent_interval_type linear and sigmoid).
#pragma once

#include <cstdint>
#include <vector>

#include "model/needle_text.hpp"

namespace longrope::search {

/// Evenly from 0 to 100 percent, each rounded to a whole one (halves to even, as numpy): [count], count from 1 to 101.
std::vector<double> linear_depths(std::int64_t count);
/// 100 / (1 + exp(-0.1 (x - 50))) of evenly spread x, rounded to three decimals; x of 0 and 100 stay as they are: more
/// of them near both ends. [count]
std::vector<double> sigmoid_depths(std::int64_t count);

struct NeedleGrid {
  std::vector<std::int64_t> lengths;  ///< tokens
  std::vector<double> depths_percent;
  std::int64_t trials = 1;

  /// Cells of one scaling.
  std::size_t cells() const;
  /// In the order length, depth, trial, the last fastest. index < cells().
  model::NeedleCell cell(std::size_t index) const;
  /// Throws InputError unless there is at least one of each, none twice, and not more cells than a store holds.
  void validate() const;

  static constexpr std::int64_t kMaxCells = 10'000'000;
};

}  // namespace longrope::search
