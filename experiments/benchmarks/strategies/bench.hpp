// What the program does: the options, and the loop over (problem, strategy, seed).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "search/cli/command.hpp"

namespace longrope::bench {

struct BenchOptions {
  std::vector<std::string> problems;    ///< "model" or analytic names
  std::vector<std::string> strategies;  ///< of strategy_names() and peer_names()
  std::int64_t seeds = 5;               ///< how many
  std::int64_t first_seed = 1;
  std::map<std::string, std::int64_t> budgets;  ///< by strategy; "" for all others
  std::int64_t parallel_runs = 1;
  double max_s = 0.0;             ///< stop after so many seconds; 0: never
  bool through_driver = false;    ///< model problems only
  std::optional<double> racing;   ///< confidence, through the driver; none: off
  std::vector<std::string> redo;  ///< strategies whose finished runs are made again
  std::string out;

  std::int64_t budget_of(const std::string& strategy) const;
};

/// Options of the bench itself; those of model, text and device are the program's (cli::session_options).
cli::po::options_description bench_options();
/// Throws InputError naming the option.
BenchOptions parse_bench_options(const cli::po::variables_map& values);

/// Runs what is not in the output yet. Returns an exit code of the program: done, or interrupted when --max-seconds or
/// a signal ended it; what was finished is kept. Throws longrope::Error.
int run_bench(const BenchOptions& options, const cli::po::variables_map& values);

}  // namespace longrope::bench
