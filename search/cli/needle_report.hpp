// What `longrope needle` prints, and what `inspect` says of a needle run: cells taken together by scaling, length and
// depth, as a table or as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "search/needle_runner.hpp"
#include "search/needle_store.hpp"

namespace longrope::cli {

/// {"model", "task", "haystack", "seed", "lengths", "depths_percent", "trials", "results": one a scaling, length and
/// depth, with their cells if `cells`, "by_depth", "by_length"}.
nlohmann::ordered_json needle_json(const search::NeedleRun& run, bool cells);

/// A table a scaling: depths down, lengths across; accuracy in percent, at the end by length with its 95% interval and
/// the needle perplexity.
void print_needle_run(const search::NeedleRun& run);

}  // namespace longrope::cli
