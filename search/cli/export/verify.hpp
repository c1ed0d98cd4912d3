// `export --verify` and `--with ENGINE`: what was written is read back and must be what was meant, table and NLL; an
// engine that is installed must give the same perplexity on the same tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "search/cli/export/format.hpp"
#include "search/cli/session.hpp"

namespace longrope::cli {

/// An exported file or directory in an inference engine, through Python.
struct EngineOptions {
  std::string name;  ///< transformers or llama.cpp; "": none
  std::string python = "python3";
};

/// One comparison, all in nats per token.
struct VerifiedRow {
  std::string reader;  ///< "longrope", or the engine with its version
  std::int64_t length = 0;
  double expected_nats = 0.0;
  double got_nats = 0.0;
  bool judged = true;  ///< false: the weights or the arithmetic differ by design
};

/// Throws InputError if the engine cannot read this format or is not installed.
void check_engine(const EngineOptions& engine, const ExportFormat& format);

/// The tables on disk, bit for bit against those meant. Throws RuntimeError naming the first difference.
model::ExportTables verify_tables(const ExportFormat& format);

/// The NLL of the export through our own loader, which must be that of `applied` to the bit. `session` has the source
/// checkpoint; where the export is itself a checkpoint, it is loaded in its place with `values`. Throws RuntimeError.
std::vector<VerifiedRow> verify_nll(const ExportFormat& format, const model::ExportTables& reread,
                                    std::unique_ptr<Session> session, const po::variables_map& values,
                                    const std::vector<std::int64_t>& lengths);

/// The perplexity of the engine on the same tokens, 1e-4 relative. Throws RuntimeError.
std::vector<VerifiedRow> verify_engine(const EngineOptions& engine, const ExportFormat& format, const Session& session,
                                       const std::string& out, const std::vector<std::int64_t>& lengths);

}  // namespace longrope::cli
