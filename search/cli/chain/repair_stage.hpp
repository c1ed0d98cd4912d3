// Short-context recovery (LongRoPE, section 3.4): on a model that was extended, a search of the table for lengths up to
// L0 with a lower maximum of the factors. The store then holds a long and a short table. What `repair` and the last
// section of a progressive job share.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "search/cli/search_options.hpp"
#include "search/search_driver.hpp"
#include "search/store.hpp"

namespace longrope::cli {

/// --length --max-factor --pick, beside those of session_options and search_options.
po::options_description repair_options();

struct RepairArguments {
  SearchArguments search;
  std::vector<std::int64_t> lengths;  ///< [K], the main one first
  double max_factor = 0.0;            ///< 0: 1.25 sqrt(s), s of the long table
  std::string pick;
};

/// values: of the three descriptions; gets the target length and the objectives that --length means. Throws InputError
/// naming the option. original_length: what --length is by default; 0: not known yet, lengths is then empty.
RepairArguments parse_repair(po::variables_map& values, std::int64_t original_length);

struct RepairJob {
  std::string name = "repair";
  std::int32_t index = 0;
  std::string command_line;
  search::StoreTable long_table;
  std::string original;  ///< checkpoint from before the extension; "": the same as --model, under `none`
};

struct RepairResult {
  search::StageOptions options;  ///< as it ran
  search::StageResult search;
  std::vector<double> original, long_context, repaired;  ///< [K] perplexities at the lengths
};

/// Runs or continues the stage on the checkpoint --model of `values`.
RepairResult run_repair_stage(const po::variables_map& values, const RepairArguments& arguments, const RepairJob& job);

nlohmann::ordered_json repair_json(const RepairResult& result);
void print_repair(const RepairResult& result);

}  // namespace longrope::cli
