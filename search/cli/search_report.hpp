// What `longrope search` prints: progress on stderr, at the end a summary or one JSON document.
#pragma once

#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

#include "search/search_driver.hpp"

namespace longrope::cli {

/// The live line, or one plain line per generation where stderr is no terminal.
class Display {
 public:
  /// `title` is printed once, when the first work is done: by then the store is open and nothing is left to refuse.
  explicit Display(std::string title) : title_(std::move(title)) {}

  void task(const search::StageProgress& progress);
  void generation(const search::StageProgress& progress);

 private:
  void print_title();

  std::string title_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point last_;
};

nlohmann::ordered_json search_json(const search::StageOptions& options, const search::StageResult& result);
void print_search_summary(const search::StageOptions& options, const search::StageResult& result);

/// A frontier, [{"id", "objectives": {"ppl@N": ..., "needle@N": ...}}].
nlohmann::ordered_json frontier_json(const std::vector<search::StorePoint>& frontier,
                                     const std::vector<search::Objective>& objectives);
/// objective: the first one.
nlohmann::ordered_json holdout_json(const search::HoldoutReport& report, const search::Objective& objective);
/// Rows and verdict.
void print_holdout(const search::HoldoutReport& report, const search::Objective& objective);

}  // namespace longrope::cli
