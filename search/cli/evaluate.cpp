// `longrope evaluate`: perplexity of rope specs at lengths, with the paired difference to the first spec.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/cli/command.hpp"
#include "search/cli/session.hpp"
#include "search/paired_difference.hpp"
#include "search/perplexity_evaluator.hpp"
#include "search/store_table.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::int64_t kMaxLength = std::int64_t{1} << 32;

struct Row {
  std::string rope;
  std::int64_t length = 0;
  search::EvalResult result;
  double document_mean = 0.0;
  search::PairedDifference difference;  ///< to the first spec at this length
};

/// All specs at one length.
std::vector<Row> evaluate_length(const Session& session, const std::vector<model::RopeSpec>& specs,
                                 std::int64_t length) {
  const model::ModelConfig& config = session.transformer().config();
  std::vector<model::RopeTable> tables;
  for (const model::RopeSpec& spec : specs) tables.push_back(search::resolve_rope_table(spec, config, length));
  const search::PerplexityEvaluator evaluator(
      session.lanes(), session.corpus(),
      model::make_windows(session.corpus(), session.protocol(), length, session.window_count()),
      session.rotation_precision());
  const std::size_t tasks = tables.size() * evaluator.windows().size();
  std::atomic<std::size_t> finished{0};
  std::mutex mutex;
  const auto started = std::chrono::steady_clock::now();
  const auto on_task = [&] {
    const std::size_t count = ++finished;
    const std::lock_guard lock(mutex);
    const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    live_line(
        fmt::format("length {}  windows {}/{}  {} left", length, count, tasks,
                    format_duration(elapsed_s * static_cast<double>(tasks - count) / static_cast<double>(count))));
  };
  const std::vector<search::EvalResult> results =
      search::evaluate_all(evaluator, tables, 1, on_task, &stop_requested());
  live_line("");
  std::vector<Row> rows;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    Row row{specs[i].text, length, results[i], 0.0, {}};
    row.document_mean = search::document_mean_perplexity(row.result.windows, evaluator.windows());
    row.difference = search::paired_difference(row.result.windows, results.front().windows, evaluator.windows());
    rows.push_back(std::move(row));
  }
  return rows;
}

void print_table(const Session& session, const std::vector<Row>& rows) {
  fmt::print(
      "protocol {}, {} windows; difference: mean NLL minus that of the first rope, nats per token, +- standard "
      "error\n\n",
      session.protocol().to_string(), session.window_count());
  std::size_t width = 4;
  for (const Row& row : rows) width = std::max(width, row.rope.size());
  fmt::print("{:<{}}  {:>8}  {:>10}  {:>21}  {:>9}  {:>8}\n", "rope", width, "length", "PPL", "difference", "tokens",
             "seconds");
  for (const Row& row : rows) {
    std::int64_t tokens = 0;
    for (const search::WindowScore& window : row.result.windows) tokens += window.tokens;
    std::string difference = "-";
    if (&row != &rows.front() && row.rope != rows.front().rope) {
      difference = fmt::format("{:+.5f}", row.difference.nats_per_token);
      if (std::isfinite(row.difference.standard_error))
        difference += fmt::format(" +- {:.5f}", row.difference.standard_error);
    }
    fmt::print("{:<{}}  {:>8}  {:>10.4f}  {:>21}  {:>9}  {:>8.2f}{}\n", row.rope, width, row.length, row.result.first(),
               difference, tokens, row.result.elapsed_s,
               row.result.status == search::Status::ok ? "" : "  " + row.result.reason);
  }
}

Json to_json(const Session& session, const std::vector<Row>& rows) {
  const model::ModelConfig& config = session.transformer().config();
  Json root;
  root["model"] = session.model_directory();
  root["geometry"] = {{"rotary_dim", config.rope.rotary_dim},
                      {"theta", config.rope.theta},
                      {"original_length", config.rope.original_length}};
  root["protocol"] = session.protocol().to_string();
  root["numerics"] = session.numerics();
  root["results"] = Json::array();
  for (const Row& row : rows) {
    const auto windows = model::make_windows(session.corpus(), session.protocol(), row.length, session.window_count());
    Json item;
    item["rope"] = row.rope;
    item["length"] = row.length;
    item["ppl"] = row.result.first();
    item["ppl_document_mean"] = row.document_mean;
    double nll_nats = 0.0;
    std::int64_t tokens = 0;
    Json list = Json::array();
    for (std::size_t w = 0; w < windows.size(); ++w) {
      const search::WindowScore& score = row.result.windows[w];
      nll_nats += score.nll_nats;
      tokens += score.tokens;
      list.push_back({{"document", session.corpus().documents[static_cast<std::size_t>(windows[w].document)].name},
                      {"first_token", windows[w].first_token},
                      {"tokens", score.tokens},
                      {"nll_nats", score.nll_nats}});
    }
    item["nll_nats"] = nll_nats;
    item["tokens"] = tokens;
    item["difference_nats"] = row.difference.nats_per_token;
    item["difference_standard_error"] = row.difference.standard_error;
    item["windows"] = list;
    item["elapsed_s"] = row.result.elapsed_s;
    item["status"] = search::kStatusNames[static_cast<std::size_t>(row.result.status)];
    if (!row.result.reason.empty()) item["reason"] = row.result.reason;
    root["results"].push_back(item);
  }
  return root;
}

}  // namespace

int run_evaluate(const std::vector<std::string>& arguments) {
  po::options_description options("Options");
  options.add_options()(
      "rope", po::value<std::vector<std::string>>()->composing(),
      "scaling to evaluate, repeatable: NAME[:ARG][:key=value,...] with NAME config, none, pi, ntk, dynamic-ntk, yarn, "
      "llama3, "
      "longrope:FILE or store:FILE[#STAGE[/ID]]; s is length/L0 unless factor= or target_length= says otherwise "
      "(default: config)")("length", po::value<std::string>(),
                           "window lengths in tokens, comma-separated (default: the checkpoint's original length)")(
      "json", "print one JSON document instead of a table");
  po::options_description all;
  all.add(session_options()).add(options);
  po::variables_map values;
  if (!parse_options("Usage: longrope evaluate --model DIR --text FILE... --rope SPEC... --length N[,N] [options]", all,
                     arguments, values)) {
    return kDone;
  }
  std::vector<model::RopeSpec> specs;
  if (values.count("rope") != 0) {
    for (const std::string& text : values["rope"].as<std::vector<std::string>>())
      specs.push_back(model::RopeSpec::parse(text));
  } else {
    specs.push_back(model::RopeSpec::parse("config"));
  }
  std::vector<std::int64_t> lengths;
  if (values.count("length") != 0)
    lengths = parse_integers("length", values["length"].as<std::string>(), 2, kMaxLength);

  const Session session(values, lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end()),
                        static_cast<std::int64_t>(specs.size()));
  if (lengths.empty()) lengths.push_back(session.transformer().config().rope.original_length);
  for (const std::int64_t length : lengths) {  // all lengths are possible before the first is scored
    model::make_windows(session.corpus(), session.protocol(), length, session.window_count());
    for (const model::RopeSpec& spec : specs) search::resolve_rope_table(spec, session.transformer().config(), length);
  }
  install_stop_signals();
  std::vector<Row> rows;
  for (const std::int64_t length : lengths) {
    for (Row& row : evaluate_length(session, specs, length)) rows.push_back(std::move(row));
  }
  if (values.count("json") != 0) {
    std::cout << to_json(session, rows).dump(1) << "\n";
  } else {
    print_table(session, rows);
  }
  for (const Row& row : rows) {
    if (row.result.status == search::Status::failed) {
      throw RuntimeError(fmt::format("[evaluate] {} at {} failed: {}", row.rope, row.length, row.result.reason));
    }
  }
  return kDone;
}

}  // namespace longrope::cli
