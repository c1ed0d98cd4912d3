// What `longrope search` takes besides model, text and device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "search/cli/command.hpp"
#include "search/cli/objective_setup.hpp"
#include "search/make_space.hpp"
#include "search/objective.hpp"

namespace longrope::cli {

struct SearchArguments {
  std::int64_t target_length = 0;
  std::string store;
  bool resume = false, json = false;
  std::string strategy;
  std::int64_t budget = 0;
  std::uint64_t seed = 0;
  std::vector<search::Objective> objectives;
  ObjectiveArguments objective_arguments;
  std::optional<double> racing;
  double patience = 0.0;
  search::SpaceOptions space;
  std::string start_tokens;  ///< as stored: "search" or a number
  std::vector<std::string> holdout_text;
  std::string holdout_tokens;
  std::int64_t holdout_windows = 0;  ///< 0: as many as --windows

  bool has_holdout() const { return !holdout_text.empty() || !holdout_tokens.empty(); }
};

po::options_description search_options();

/// Reads no file but checks that the store may be made, unless it may exist. Throws InputError naming the option.
SearchArguments parse_search(const po::variables_map& values, bool store_may_exist = false);

}  // namespace longrope::cli
