// `longrope progressive`: the stages of a job file in order, fine-tuning between them, into one store.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <iostream>

#include "kernels/error.hpp"
#include "search/cli/chain/chain.hpp"
#include "search/cli/session.hpp"

namespace longrope::cli {
namespace {

constexpr const char* kUsageText =
    "Usage: longrope progressive --config JOB.cfg [--resume] [options]\n\nThe job file: options of all stages first, "
    "then "
    "[stage.NAME] sections in their order, then at most one [repair];\nKEY = VALUE lines with the names below. Options "
    "given here hold for all sections.";

/// What was given on the command line, flags of the job apart.
JobEntries entries_of(const po::parsed_options& parsed) {
  JobEntries entries;
  for (const po::option& option : parsed.options) {
    if (option.string_key == "config" || option.string_key == "help" || option.string_key == "check") continue;
    for (const std::string& value : option.value) entries.emplace_back(option.string_key, value);
  }
  return entries;
}

}  // namespace

int run_progressive(const std::vector<std::string>& texts) {
  po::options_description job("Job"), session = session_options(), search = search_options(),
                                      stage = chain_stage_options(), repair("Repair"), all;
  repair.add_options()("length", po::value<std::string>(), "lengths to recover, comma-separated (default: L0)")(
      "max-factor", po::value<std::string>(), "largest factor of the short table (default: 1.25 sqrt(s))");
  job.add_options()("config", po::value<std::string>(), "job file")(
      "check", "read the job file, say what it means, and end")("help", "show this text")(
      "work", po::value<std::string>(), "directory of the fine-tuned checkpoints (default: the store's name + .work)");
  all.add(job).add(stage).add(repair).add(session).add(search);
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing &
                    ~po::command_line_style::allow_short;
  po::variables_map values;
  JobEntries given;
  try {
    const po::positional_options_description none;
    const po::parsed_options parsed = po::command_line_parser(texts).options(all).positional(none).style(style).run();
    given = entries_of(parsed);
    po::store(parsed, values);
  } catch (const po::error& error) {
    throw InputError(fmt::format("[usage] {} (see --help)", complaint(error)));
  }
  if (values.count("help") != 0) {
    std::cout << kUsageText << "\n\n" << all;
    return kDone;
  }
  ChainPlan plan = plan_chain(require_option(values, "config"), given);
  if (values.count("check") != 0) {
    fmt::print("{}", describe(plan));
    return kDone;
  }
  plan.resume = values.count("resume") != 0;
  plan.command_line = fmt::format("longrope progressive {}", fmt::join(texts, " "));
  std::error_code error;
  if (!plan.resume && std::filesystem::exists(plan.store, error)) {
    throw InputError(
        fmt::format("[--store] {} exists already (--resume continues it; or choose another path)", plan.store));
  }
  install_stop_signals();
  nlohmann::ordered_json report;
  const int code = run_chain(plan, report);
  if (code == kInterrupted) {
    fmt::print(stderr, "longrope: [progressive] interrupted; the store is complete, --resume continues it\n");
    return kInterrupted;
  }
  if (values.count("json") != 0) {
    std::cout << report.dump(1) << "\n";
  } else {
    print_chain(report);
  }
  return code;
}

}  // namespace longrope::cli
