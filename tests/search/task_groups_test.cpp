// Groups of evaluations: every task once, equal lengths, tables of a window together, work for every thread.
#include "search/task_groups.hpp"

#include <algorithm>
#include <set>

#include "tests/support/catch.hpp"

namespace longrope::search {
namespace {

std::vector<EvalTask> all_tasks(std::size_t tables, std::size_t windows) {
  std::vector<EvalTask> tasks;
  for (std::size_t t = 0; t < tables; ++t) {
    for (std::size_t w = 0; w < windows; ++w) tasks.push_back({t, w});
  }
  return tasks;
}

TEST_CASE("Groups hold every task once, of one length, and no more than allowed", "[task_groups]") {
  for (const std::size_t tables : {1U, 2U, 7U, 8U, 64U}) {
    for (const std::size_t windows : {1U, 3U, 5U}) {
      for (const std::int64_t most : {1, 2, 8, 100}) {
        for (const std::int64_t workers : {1, 2, 13}) {
          CAPTURE(tables, windows, most, workers);
          std::vector<std::int64_t> lengths;
          for (std::size_t w = 0; w < windows; ++w) lengths.push_back(w % 2 == 0 ? 256 : 2048);
          const auto tasks = all_tasks(tables, windows);
          const auto groups = group_tasks(
              lengths, tasks, [&](std::int64_t) { return most; }, workers);
          std::vector<int> seen(tasks.size());
          for (const auto& group : groups) {
            REQUIRE(!group.empty());
            CHECK(static_cast<std::int64_t>(group.size()) <= most);
            for (const std::size_t t : group) {
              ++seen[t];
              CHECK(lengths[tasks[t].window] == lengths[tasks[group.front()].window]);
            }
          }
          CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
          CHECK(static_cast<std::int64_t>(groups.size()) >= std::min<std::int64_t>(workers, std::ssize(tasks)));
        }
      }
    }
  }
}

TEST_CASE("Groups of 64 tables are tables of one window, a run of tables at a time", "[task_groups]") {
  const std::vector<std::int64_t> lengths(5, 2048);
  const auto tasks = all_tasks(64, 5);
  const auto groups = group_tasks(
      lengths, tasks, [](std::int64_t) { return 8; }, 2);
  REQUIRE(groups.size() == 40);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    REQUIRE(groups[g].size() == 8);
    for (std::size_t i = 0; i < 8; ++i) {
      CHECK(tasks[groups[g][i]].window == g % 5);
      CHECK(tasks[groups[g][i]].table == g / 5 * 8 + i);
    }
  }
}

TEST_CASE("Few tasks are spread over the threads, single ones keep their order", "[task_groups]") {
  const std::vector<std::int64_t> lengths{2048};
  const auto at_once = [](std::int64_t) { return 8; };
  CHECK(group_tasks(lengths, all_tasks(8, 1), at_once, 2) ==
        std::vector<std::vector<std::size_t>>{{0, 1, 2, 3}, {4, 5, 6, 7}});
  const std::vector<std::int64_t> mixed{2048, 256};
  CHECK(group_tasks(mixed, all_tasks(2, 2), at_once, 64) == std::vector<std::vector<std::size_t>>{{0}, {1}, {2}, {3}});
  CHECK(group_tasks(mixed, {}, at_once, 2).empty());
  // Windows of 100 tokens: three fill a product, whatever the threads.
  const std::vector<std::int64_t> short_ones{100};
  CHECK(group_tasks(short_ones, all_tasks(6, 1), at_once, 64) ==
        std::vector<std::vector<std::size_t>>{{0, 1, 2}, {3, 4, 5}});
}

}  // namespace
}  // namespace longrope::search
