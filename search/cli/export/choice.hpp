// From the options of `export` to the tables that are exported.
#pragma once

#include <string>

#include "model/export_tables.hpp"
#include "model/model_config.hpp"
#include "search/cli/command.hpp"

namespace longrope::cli {

/// --store --rope --target-length --mode --short.
po::options_description export_choice_options();

/// Throws InputError: options that contradict each other, a table that is not there or not for this model.
model::ExportTables choose_tables(const po::variables_map& values, const model::ModelConfig& config);

}  // namespace longrope::cli
