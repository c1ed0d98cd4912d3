// `longrope search`: one stage, written to a store as it goes, resumable.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "search/cli/command.hpp"
#include "search/cli/search_options.hpp"
#include "search/cli/search_report.hpp"
#include "search/cli/session.hpp"
#include "search/cli/stage_setup.hpp"
#include "search/make_space.hpp"

namespace longrope::cli {

int run_search(const std::vector<std::string>& texts) {
  po::options_description all;
  all.add(session_options()).add(search_options());
  po::variables_map values;
  if (!parse_options("Usage: longrope search --model DIR --text FILE... --target-length N --store FILE.h5 [options]",
                     all, texts, values)) {
    return kDone;
  }
  const SearchArguments arguments = parse_search(values);
  const Session session(values, arguments.target_length, kTablesOfAStep);
  const search::Space space =
      search::make_space(session.transformer().config(), arguments.target_length, arguments.space);
  PreparedStage stage =
      prepare_stage(arguments, session, {"main", 0, fmt::format("longrope search {}", fmt::join(texts, " "))}, space);
  const search::StageResult result =
      run_prepared(session, stage,
                   fmt::format("searching {} factors for {} tokens (s = {:g}) with {}, {} windows, into {}",
                               space.geometry.pairs(), arguments.target_length, space.scale, arguments.strategy,
                               stage.evaluator->windows().size(), arguments.store));
  if (arguments.json) {
    std::cout << search_json(stage.options, result).dump(1) << "\n";
  } else {
    print_search_summary(stage.options, result);
  }
  if (result.interrupted()) {
    fmt::print(stderr, "longrope: [search] interrupted; the store is complete, --resume continues it\n");
    return kInterrupted;
  }
  return kDone;
}

}  // namespace longrope::cli
