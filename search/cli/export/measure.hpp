// What an exported table costs at short lengths, measured: the checkpoint as it is against the tables as the engine
// will apply them, on the same windows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/export_tables.hpp"
#include "search/cli/session.hpp"
#include "search/paired_difference.hpp"

namespace longrope::cli {

struct MeasuredRow {
  std::int64_t length = 0;
  std::string table;  ///< "checkpoint as it is", "long table" or "short table"
  search::EvalResult result;
  search::PairedDifference difference;  ///< to the checkpoint as it is
};

struct Measurement {
  std::string protocol;
  std::string numerics;
  std::int64_t windows = 0;
  std::vector<std::string> sources;
  std::vector<MeasuredRow> rows;  ///< in the order of the lengths
};

/// --length, or a quarter, half and all of the original length and the target length; of these defaults those for which
/// there is text. Throws InputError for a --length for which there is not.
std::vector<std::int64_t> measured_lengths(const Session& session, const std::vector<std::int64_t>& given,
                                           std::int64_t target_length);

/// tables: as the engine will apply them. Throws RuntimeError if a forward pass fails.
Measurement measure_export(const Session& session, const model::ExportTables& tables,
                           const std::vector<std::int64_t>& lengths);

/// Scores of one table on the session's windows of `length` tokens.
search::EvalResult score_table(const Session& session, const model::RopeTable& table, std::int64_t length);

}  // namespace longrope::cli
