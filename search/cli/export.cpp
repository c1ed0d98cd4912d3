// `longrope export`: a table into an engine's format, with a README that says what it does there, measured and
// verified.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/export/choice.hpp"
#include "search/cli/export/format.hpp"
#include "search/cli/export/measure.hpp"
#include "search/cli/export/readme.hpp"
#include "search/cli/export/verify.hpp"
#include "search/cli/session.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;

/// Everything --json prints.
struct Report {
  std::string format;
  std::string out;
  std::vector<std::string> warnings;
  std::optional<Measurement> measurement;
  bool tables_verified = false;
  std::vector<VerifiedRow> verified;
};

Json to_json(const Report& report) {
  Json root{{"format", report.format}, {"out", report.out}, {"warnings", report.warnings}};
  if (report.measurement) {
    Json rows = Json::array();
    for (const MeasuredRow& row : report.measurement->rows) {
      rows.push_back({{"length", row.length},
                      {"table", row.table},
                      {"ppl", row.result.first()},
                      {"difference_nats", row.difference.nats_per_token},
                      {"difference_standard_error", row.difference.standard_error}});
    }
    root["protocol"] = report.measurement->protocol;
    root["measured"] = rows;
  }
  root["tables_verified"] = report.tables_verified;
  Json rows = Json::array();
  for (const VerifiedRow& row : report.verified) {
    rows.push_back({{"reader", row.reader},
                    {"length", row.length},
                    {"expected_nats", row.expected_nats},
                    {"got_nats", row.got_nats},
                    {"judged", row.judged}});
  }
  root["verified"] = rows;
  return root;
}

void print_report(const Report& report) {
  fmt::print("{}\n", report.out);
  if (report.tables_verified) fmt::print("verified: the tables read back are those exported, to the bit\n");
  for (const VerifiedRow& row : report.verified) {
    fmt::print("{}: {} at {}: PPL {:.6f}, here {:.6f} (relative difference {:.1e})\n",
               row.judged ? "verified" : "compared, not judged: the weights or the arithmetic differ", row.reader,
               row.length, std::exp(row.got_nats), std::exp(row.expected_nats),
               std::abs(std::expm1(row.got_nats - row.expected_nats)));
  }
}

EngineOptions engine_of(const po::variables_map& values) {
  EngineOptions engine;
  engine.python = values["python"].as<std::string>();
  if (values.count("with") == 0) return engine;
  engine.name = values["with"].as<std::string>();
  check_choice("with", engine.name, {"transformers", "llama.cpp"});
  if (values.count("text") == 0 && values.count("tokens") == 0) {
    throw InputError("[usage] --with needs --text or --tokens: what the engine and longrope both score");
  }
  return engine;
}

/// Lengths at which readers must agree: the longest measured, and the original length.
std::vector<std::int64_t> verified_lengths(const std::vector<std::int64_t>& measured, std::int64_t original) {
  std::vector<std::int64_t> lengths{*std::max_element(measured.begin(), measured.end())};
  if (lengths.front() != original && std::count(measured.begin(), measured.end(), original) != 0) {
    lengths.push_back(original);
  }
  return lengths;
}

po::options_description export_options() {
  po::options_description options("Export");
  options.add_options()(
      "to", po::value<std::string>(),
      "hf (a model directory for transformers v4 and v5), vllm or sglang (override JSON and command line), gguf (for "
      "llama.cpp), trtllm (a model directory for TensorRT-LLM), json (everything) or csv (one factor per line)")(
      "out", po::value<std::string>(),
      "what to write: a directory (hf, trtllm, vllm, sglang) or a file, with its README beside it; must not exist")(
      "length", po::value<std::string>(),
      "with --text or --tokens: lengths at which perplexity is measured, comma-separated, in tokens (default: a "
      "quarter, "
      "half and all of the original length, and the target length)")(
      "verify", "read back what was written: the same tables to the bit, and with --text or --tokens the same NLL")(
      "with", po::value<std::string>(), "transformers or llama.cpp: also run the export there and compare perplexity")(
      "python", po::value<std::string>()->default_value("python3"), "Python that has the engine of --with")(
      "json", "print one JSON document");
  return options;
}

}  // namespace

int run_export(const std::vector<std::string>& arguments) {
  po::options_description options = export_options();
  options.add(export_choice_options()).add(export_format_options()).add(session_options());
  po::variables_map values;
  if (!parse_options("Usage: longrope export --to FORMAT --model DIR --out PATH (--store FILE | --rope SPEC) [options]",
                     options, arguments, values)) {
    return kDone;
  }
  Report report;
  report.format = require_option(values, "to");
  check_choice("to", report.format, {"hf", "vllm", "sglang", "gguf", "trtllm", "json", "csv"});
  report.out = require_option(values, "out");
  ExportRequest request;
  request.model_directory = require_option(values, "model");
  request.out = report.out;
  const EngineOptions engine = engine_of(values);
  const bool has_text = values.count("text") != 0 || values.count("tokens") != 0;
  std::vector<std::int64_t> lengths;
  if (values.count("length") != 0) {
    if (!has_text) throw InputError("[usage] --length needs --text or --tokens: what is measured");
    lengths = parse_integers("length", values["length"].as<std::string>(), 2, kMaxLength);
  }
  request.config = model::read_model_config(request.model_directory);
  request.tables = choose_tables(values, request.config);
  const std::unique_ptr<ExportFormat> format = make_export_format(report.format, request, values);
  check_engine(engine, *format);

  std::unique_ptr<Session> session;
  if (has_text) {
    const std::int64_t longest =
        lengths.empty() ? request.tables.target_length : *std::max_element(lengths.begin(), lengths.end());
    session = std::make_unique<Session>(values, longest, 2);
    lengths = measured_lengths(*session, lengths, request.tables.target_length);
    report.measurement = measure_export(*session, format->applied(), lengths);
  }
  format->write(export_readme(report.format, *format, request, arguments, report.measurement));
  report.warnings = format->warnings();
  for (const std::string& warning : report.warnings) {
    fmt::print(stderr, "longrope: [export {}] warning: {}\n", report.format, warning);
  }

  if (values.count("verify") != 0 || !engine.name.empty()) {
    const model::ExportTables reread = verify_tables(*format);
    report.tables_verified = true;
    if (session) {
      const auto at = verified_lengths(lengths, request.config.rope.original_length);
      std::vector<VerifiedRow> engine_rows;
      if (!engine.name.empty()) engine_rows = verify_engine(engine, *format, *session, report.out, at);
      report.verified = verify_nll(*format, reread, std::move(session), values, at);
      report.verified.insert(report.verified.end(), engine_rows.begin(), engine_rows.end());
    }
  }
  if (values.count("json") != 0) {
    std::cout << to_json(report).dump(1) << "\n";
  } else {
    print_report(report);
  }
  return kDone;
}

}  // namespace longrope::cli
