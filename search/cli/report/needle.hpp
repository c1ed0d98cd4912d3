// Needle runs in a report: heatmaps of accuracy and of needle perplexity, depth 0 on top as gkamradt draws them, and
// accuracy by depth with its intervals ("lost in the middle").
#pragma once

#include <string>
#include <vector>

#include "search/needle_store.hpp"

namespace longrope::cli {

std::string needle_section(const search::NeedleRun& run);

/// What a page begins with where the store holds needle runs and no search.
std::string needle_header(const std::string& file, const std::vector<search::NeedleRun>& runs);

}  // namespace longrope::cli
