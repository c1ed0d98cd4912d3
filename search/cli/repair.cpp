// `longrope repair`: the short-context stage on a store that holds a long table.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>

#include "kernels/error.hpp"
#include "model/model_config.hpp"
#include "search/cli/chain/repair_stage.hpp"
#include "search/cli/session.hpp"
#include "search/store_table.hpp"

namespace longrope::cli {
namespace {

/// The number of the stage in the store: its own if it is there, else the next.
std::int32_t stage_index(const std::vector<search::StoreContents>& stages, const std::string& name) {
  const auto found = std::find_if(stages.begin(), stages.end(),
                                  [&](const search::StoreContents& s) { return s.header.stage.name == name; });
  return found != stages.end() ? found->header.stage.index : stages.back().header.stage.index + 1;
}

}  // namespace

int run_repair(const std::vector<std::string>& texts) {
  po::options_description all, own("Model and store");
  own.add_options()("original", po::value<std::string>(),
                    "checkpoint from before the extension, for comparison (default: --model itself, unscaled)")(
      "table", po::value<std::string>(), "the long table, by its name in the store (default: for the longest context)")(
      "name", po::value<std::string>()->default_value("repair"), "of the stage and of the pair of tables");
  all.add(session_options()).add(search_options()).add(repair_options()).add(own);
  po::variables_map values;
  if (!parse_options("Usage: longrope repair --model DIR --text FILE... --store FILE.h5 [--length N,...] [options]",
                     all, texts, values)) {
    return kDone;
  }
  const model::ModelConfig config = model::read_model_config(require_option(values, "model"));
  const RepairArguments arguments = parse_repair(values, config.rope.original_length);
  RepairJob job;
  job.name = values["name"].as<std::string>();
  job.command_line = fmt::format("longrope repair {}", fmt::join(texts, " "));
  job.long_table = values.count("table") != 0
                       ? search::choose_table(arguments.search.store, values["table"].as<std::string>())
                       : search::longest_table(arguments.search.store);
  job.index = stage_index(search::read_stages(arguments.search.store), job.name);
  if (values.count("original") != 0) job.original = values["original"].as<std::string>();
  const RepairResult result = run_repair_stage(values, arguments, job);
  if (arguments.search.json) {
    std::cout << repair_json(result).dump(1) << "\n";
  } else {
    print_repair(result);
  }
  if (result.search.interrupted()) {
    fmt::print(stderr, "longrope: [repair] interrupted; the store is complete, --resume continues it\n");
    return kInterrupted;
  }
  return kDone;
}

}  // namespace longrope::cli
