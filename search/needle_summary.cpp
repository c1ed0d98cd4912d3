#include "search/needle_summary.hpp"

#include <algorithm>

namespace longrope::search {

NeedleTables::NeedleTables(const NeedleRun& run)
    : lengths_(run.grid.lengths.size()),
      depths_(run.grid.depths_percent.size()),
      groups_(run.ropes.size() * lengths_ * depths_) {
  for (const NeedleRow& row : run.rows)
    groups_.at(static_cast<std::size_t>(row.cell / run.grid.trials)).push_back(&row);
  for (auto& group : groups_)
    std::sort(group.begin(), group.end(), [](const NeedleRow* a, const NeedleRow* b) { return a->trial < b->trial; });
}

const std::vector<const NeedleRow*>& NeedleTables::rows(std::size_t rope, std::size_t length, std::size_t depth) const {
  return groups_.at((rope * lengths_ + length) * depths_ + depth);
}

NeedleSummary NeedleTables::of_length(std::size_t rope, std::size_t length) const {
  std::vector<const NeedleRow*> all;
  for (std::size_t d = 0; d < depths_; ++d) {
    const auto& some = rows(rope, length, d);
    all.insert(all.end(), some.begin(), some.end());
  }
  return summarise(all);
}

NeedleSummary NeedleTables::of_depth(std::size_t rope, std::size_t depth) const {
  std::vector<const NeedleRow*> all;
  for (std::size_t l = 0; l < lengths_; ++l) {
    const auto& some = rows(rope, l, depth);
    all.insert(all.end(), some.begin(), some.end());
  }
  return summarise(all);
}

}  // namespace longrope::search
