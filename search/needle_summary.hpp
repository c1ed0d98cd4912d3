// The rows of a needle run by scaling, length and depth.
#pragma once

#include <cstddef>
#include <vector>

#include "search/needle_result.hpp"
#include "search/needle_store.hpp"

namespace longrope::search {

/// Views into a run, which outlives it.
class NeedleTables {
 public:
  explicit NeedleTables(const NeedleRun& run);

  /// In order of their trials; fewer than the grid's trials where the run is not complete.
  const std::vector<const NeedleRow*>& rows(std::size_t rope, std::size_t length, std::size_t depth) const;
  /// All depths of a length, all lengths of a depth.
  NeedleSummary of_length(std::size_t rope, std::size_t length) const;
  NeedleSummary of_depth(std::size_t rope, std::size_t depth) const;

 private:
  std::size_t lengths_, depths_;
  std::vector<std::vector<const NeedleRow*>> groups_;  ///< [rope, length, depth]
};

}  // namespace longrope::search
