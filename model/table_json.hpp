// A table as one JSON object that says everything: factors, frequencies, lengths, attention factor, start tokens,
// model.
// `--rope longrope:FILE` reads its long table back.
#pragma once

#include <string>

#include "model/export_tables.hpp"
#include "model/model_config.hpp"

namespace longrope::model {

/// name: how the model is called there. The long table's keys stand at the top, the short one's under "short" if the
/// tables switch.
std::string table_json(const ExportTables& tables, const ModelConfig& config, const std::string& name);

/// What table_json wrote. `where` begins messages. Throws InputError.
ExportTables read_table_json(const std::string& text, const std::string& where, const ModelConfig& config);

}  // namespace longrope::model
