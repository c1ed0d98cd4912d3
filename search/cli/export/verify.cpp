#include "search/cli/export/verify.hpp"

#include <fmt/core.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/error.hpp"
#include "model/config_table.hpp"
#include "search/cli/export/engine_script.hpp"
#include "search/cli/export/measure.hpp"
#include "search/cli/export/subprocess.hpp"

namespace longrope::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kRelativePerplexity = 1e-4;
constexpr int kEngineMissing = 3;  // the script's exit code

struct Mean {
  double nats = 0.0;
  std::int64_t tokens = 0;
};

double mean_nats(const std::vector<search::WindowScore>& windows) {
  Mean sum;
  for (const search::WindowScore& window : windows) {
    sum.nats += window.nll_nats;
    sum.tokens += window.tokens;
  }
  return sum.nats / static_cast<double>(sum.tokens);
}

/// The table an engine applies to sequences of `length` tokens.
const model::RopeTable& active(const ExportFormat& format, const model::ExportTables& tables, std::int64_t length) {
  return format.uses_long(length) ? tables.long_table : tables.short_table;
}

void compare(const std::string& name, const model::RopeTable& expected, const model::RopeTable& got) {
  const auto differs = [&](const std::string& what) {
    throw RuntimeError(
        fmt::format("[export --verify] the {} table read back must be what was meant but {}", name, what));
  };
  if (got.factors.size() != expected.factors.size()) differs(fmt::format("has {} factors", got.factors.size()));
  for (std::size_t i = 0; i < expected.factors.size(); ++i) {
    if (got.factors[i] != expected.factors[i] || got.inv_freq[i] != expected.inv_freq[i]) {
      differs(fmt::format("factor {} is {:.17g}, not {:.17g}", i, got.factors[i], expected.factors[i]));
    }
  }
  if (std::abs(got.attention_factor - expected.attention_factor) > 1e-9 * expected.attention_factor) {
    differs(
        fmt::format("its attention factor is {:.17g}, not {:.17g}", got.attention_factor, expected.attention_factor));
  }
  if (got.start_tokens != expected.start_tokens) differs(fmt::format("has start_tokens {}", got.start_tokens));
}

/// A file that is removed again.
class RequestFile {
 public:
  explicit RequestFile(const std::string& text)
      : path_((fs::temp_directory_path() / "longrope-engine-XXXXXX").string()) {
    const int descriptor = ::mkstemp(path_.data());
    if (descriptor < 0) throw RuntimeError(fmt::format("[{}] cannot be made", path_));
    ::close(descriptor);
    std::ofstream file(path_, std::ios::binary);
    file << text;
    if (!file.flush()) throw RuntimeError(fmt::format("[{}] cannot be written", path_));
  }
  ~RequestFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  RequestFile(const RequestFile&) = delete;
  RequestFile& operator=(const RequestFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

void check_engine(const EngineOptions& engine, const ExportFormat& format) {
  if (engine.name.empty()) return;
  if (format.engine() != engine.name) {
    throw InputError(fmt::format(
        "[--with] {} does not read this export (transformers reads hf with weights, llama.cpp gguf)", engine.name));
  }
  const ProcessResult found = run_process(engine.python, {"-c", kEngineScript, "--check", engine.name});
  if (found.exit_code == 0) return;
  const std::string reason = found.exit_code == kEngineMissing ? found.output : "the script did not run";
  throw InputError(fmt::format("[--with] {} must be importable by {} but got: {} (install it there, or give --python)",
                               engine.name, engine.python, reason));
}

model::ExportTables verify_tables(const ExportFormat& format) {
  model::ExportTables expected = format.applied();
  model::ExportTables got = format.reread();
  if (got.target_length != expected.target_length) {
    throw RuntimeError(fmt::format("[export --verify] the target length read back must be {} but got {}",
                                   expected.target_length, got.target_length));
  }
  compare("long", expected.long_table, got.long_table);
  compare("short", expected.short_table, got.short_table);
  return got;
}

std::vector<VerifiedRow> verify_nll(const ExportFormat& format, const model::ExportTables& reread,
                                    std::unique_ptr<Session> session, const po::variables_map& values,
                                    const std::vector<std::int64_t>& lengths) {
  const model::ExportTables applied = format.applied();
  const std::int64_t original = session->transformer().config().rope.original_length;
  const auto table = [&](const model::ExportTables& tables, std::int64_t length) -> const model::RopeTable& {
    return length > original ? tables.long_table : tables.short_table;
  };
  std::vector<VerifiedRow> rows;
  for (const std::int64_t length : lengths) {
    const search::EvalResult result = score_table(*session, table(applied, length), length);
    rows.push_back({"longrope", length, mean_nats(result.windows), 0.0, true});
  }
  const auto checkpoint = format.checkpoint();
  if (checkpoint) {  // the model is held once
    po::variables_map there = values;
    there.at("model").value() = checkpoint->string();
    session.reset();
    session = std::make_unique<Session>(there, *std::max_element(lengths.begin(), lengths.end()), 2);
  }
  for (VerifiedRow& row : rows) {
    const model::RopeTable read =
        checkpoint ? model::config_rope_table(session->transformer().config(), row.length) : table(reread, row.length);
    row.got_nats = mean_nats(score_table(*session, read, row.length).windows);
    if (!(std::abs(row.got_nats - row.expected_nats) <= 1e-12 * row.expected_nats)) {
      throw RuntimeError(fmt::format("[export --verify] the mean NLL at {} must be {:.12g} but got {:.12g}", row.length,
                                     row.expected_nats, row.got_nats));
    }
  }
  return rows;
}

std::vector<VerifiedRow> verify_engine(const EngineOptions& engine, const ExportFormat& format, const Session& session,
                                       const std::string& out, const std::vector<std::int64_t>& lengths) {
  nlohmann::json request{{"model", fs::absolute(out).string()}, {"lengths", nlohmann::json::array()}};
  for (const std::int64_t length : lengths) {
    nlohmann::json windows = nlohmann::json::array();
    for (const model::Window& window :
         model::make_windows(session.corpus(), session.protocol(), length, session.window_count())) {
      windows.push_back(
          {{"tokens", model::window_tokens(session.corpus(), window)}, {"first_scored", window.first_scored}});
    }
    request["lengths"].push_back(windows);
  }
  const RequestFile file(request.dump());
  const ProcessResult done = run_process(engine.python, {"-c", kEngineScript, "--run", engine.name, file.path()});
  const std::string failed =
      fmt::format("[--with] {} failed with exit code {} (its messages stand above)", engine.name, done.exit_code);
  if (done.exit_code != 0) throw RuntimeError(failed);
  const model::ExportTables applied = format.applied();
  std::vector<VerifiedRow> rows;
  try {
    const nlohmann::json answer = nlohmann::json::parse(done.output);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const nlohmann::json& result = answer.at("results").at(i);
      rows.push_back({answer.at("engine").get<std::string>(), lengths[i], 0.0,
                      result.at("nll_nats").get<double>() / result.at("tokens").get<double>(),
                      format.exact_weights() && session.numerics().find("/f32/") != std::string::npos});
    }
  } catch (const nlohmann::json::exception&) {
    throw RuntimeError(failed);
  }
  for (VerifiedRow& row : rows) {
    row.expected_nats = mean_nats(score_table(session, active(format, applied, row.length), row.length).windows);
    const double relative = std::abs(std::expm1(row.got_nats - row.expected_nats));
    if (row.judged && !(relative <= kRelativePerplexity)) {
      throw RuntimeError(fmt::format("[--with] {} must give a perplexity of {:.6f} at {} but got {:.6f}", row.reader,
                                     std::exp(row.expected_nats), row.length, std::exp(row.got_nats)));
    }
  }
  return rows;
}

}  // namespace longrope::cli
