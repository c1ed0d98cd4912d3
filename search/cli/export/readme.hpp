// The README that goes with every export: what is in it, which table is active at which setting, what it costs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "search/cli/export/format.hpp"
#include "search/cli/export/measure.hpp"

namespace longrope::cli {

/// Markdown. command: the arguments that made the export. Without a measurement it says so, and how to get one.
std::string export_readme(const std::string& format_name, const ExportFormat& format, const ExportRequest& request,
                          const std::vector<std::string>& command, const std::optional<Measurement>& measurement);

}  // namespace longrope::cli
