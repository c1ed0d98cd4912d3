#include "search/task_groups.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace longrope::search {
namespace {

constexpr std::int64_t kProductRows = 256;  // of the CPU's products: fewer cost as much

}  // namespace

std::vector<std::vector<std::size_t>> group_tasks(std::span<const std::int64_t> lengths,
                                                  std::span<const EvalTask> tasks,
                                                  const std::function<std::int64_t(std::int64_t)>& at_once,
                                                  std::int64_t workers) {
  std::map<std::int64_t, std::vector<std::size_t>> by_length;
  for (std::size_t t = 0; t < tasks.size(); ++t) by_length[lengths[tasks[t].window]].push_back(t);

  std::vector<std::vector<std::size_t>> groups;
  for (auto& [length, members] : by_length) {
    const auto count = static_cast<std::int64_t>(members.size());
    const std::int64_t filling = (kProductRows + length - 1) / length;
    const std::int64_t most = std::clamp<std::int64_t>(std::max(count / workers, filling), 1, at_once(length));
    if (most > 1) {
      const auto key = [&](std::size_t t) {
        return std::tuple(tasks[t].table / static_cast<std::size_t>(most), tasks[t].window, tasks[t].table);
      };
      std::stable_sort(members.begin(), members.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    }
    std::int64_t pieces = (count + most - 1) / most;
    if (most > filling) pieces = std::min(count, (pieces + workers - 1) / workers * workers);  // no last round for few
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      groups.emplace_back(members.begin() + piece * count / pieces, members.begin() + (piece + 1) * count / pieces);
    }
  }
  if (std::all_of(groups.begin(), groups.end(), [](const auto& group) { return group.size() == 1; })) {
    std::sort(groups.begin(), groups.end());
  }
  return groups;
}

}  // namespace longrope::search
