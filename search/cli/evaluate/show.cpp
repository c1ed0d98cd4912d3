// The table and the JSON document of `longrope evaluate`.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "search/cli/evaluate/evaluation.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;

/// Columns of one objective: what a row has of it, "-" where its length has none.
void print_objective(const EvaluateRow& row, const EvaluateRow& first, search::Objective::Kind kind) {
  std::string value = "-", difference = "-";
  for (std::size_t k = 0; k < row.objectives.size(); ++k) {
    if (row.objectives[k].kind != kind) continue;
    value = fmt::format("{:.4f}", row.result.objectives[k]);
    if (&row == &first || row.rope == first.rope) continue;
    difference = fmt::format("{:+.5f}", row.differences[k].nats_per_token);
    if (std::isfinite(row.differences[k].standard_error))
      difference += fmt::format(" +- {:.5f}", row.differences[k].standard_error);
  }
  fmt::print("  {:>10}  {:>21}", value, difference);
}

/// What a row has besides perplexity.
void add_metrics(const EvaluateRow& row, Json& item) {
  for (std::size_t k = 1; k < row.objectives.size(); ++k) {
    const bool key = row.objectives[k].kind == search::Objective::Kind::key_perplexity;
    const std::string name = key ? "key" : "needle";
    item[row.objectives[k].key()] = row.result.objectives[k];
    item[name + "_tokens"] = row.tokens(k);
    item[name + "_difference_nats"] = row.differences[k].nats_per_token;
    item[name + "_difference_standard_error"] = row.differences[k].standard_error;
  }
  if (!row.passkeys) return;
  const auto [low, high] = row.passkeys->accuracy_interval();
  item["passkey_accuracy"] = row.passkeys->accuracy();
  item["passkey_interval"] = {low, high};
  item["passkey_trials"] = row.passkeys->trials;
}

}  // namespace

void print_rows(const EvaluateRequest& request, const Session& session, const std::vector<EvaluateRow>& rows) {
  fmt::print(
      "protocol {}, {} windows; difference: mean NLL minus that of the first rope, nats per token, +- standard "
      "error\n\n",
      session.protocol().to_string(), session.window_count());
  using Kind = search::Objective::Kind;
  std::vector<Kind> kinds{Kind::perplexity};
  if (request.metrics.key_ppl) kinds.push_back(Kind::key_perplexity);
  if (request.metrics.needle) kinds.push_back(Kind::needle);
  std::size_t width = 4;
  for (const EvaluateRow& row : rows) width = std::max(width, row.rope.size());
  fmt::print("{:<{}}  {:>8}", "rope", width, "length");
  for (const Kind kind : kinds) fmt::print("  {:>10}  {:>21}", search::Objective{kind, 0}.label(), "difference");
  if (request.metrics.passkey) fmt::print("  {:>13}", "passkeys");
  fmt::print("  {:>9}  {:>8}\n", "tokens", "seconds");
  for (const EvaluateRow& row : rows) {
    fmt::print("{:<{}}  {:>8}", row.rope, width, row.length);
    for (const Kind kind : kinds) print_objective(row, rows.front(), kind);
    if (row.passkeys) {
      fmt::print("  {:>13}", fmt::format("{}/{} {:>4.0f}%", row.passkeys->exact, row.passkeys->trials,
                                         100.0 * row.passkeys->accuracy()));
    }
    fmt::print("  {:>9}  {:>8.2f}{}\n", row.tokens(0), row.result.elapsed_s,
               row.result.status == search::Status::ok ? "" : "  " + row.result.reason);
  }
}

Json rows_json(const Session& session, const std::vector<EvaluateRow>& rows) {
  const model::ModelConfig& config = session.transformer().config();
  Json root;
  root["model"] = session.model_directory();
  root["geometry"] = {{"rotary_dim", config.rope.rotary_dim},
                      {"theta", config.rope.theta},
                      {"original_length", config.rope.original_length}};
  root["protocol"] = session.protocol().to_string();
  root["numerics"] = session.numerics();
  root["results"] = Json::array();
  for (const EvaluateRow& row : rows) {
    Json item;
    item["rope"] = row.rope;
    item["length"] = row.length;
    item["ppl"] = row.result.first();
    item["ppl_document_mean"] = row.document_mean;
    double nll_nats = 0.0;
    Json list = Json::array();
    const std::span<const search::WindowScore> scores = row.scores(0);
    for (std::size_t w = 0; w < scores.size(); ++w) {
      const model::Window& window = row.windows[w];
      nll_nats += scores[w].nll_nats;
      list.push_back({{"document", session.corpus().documents[static_cast<std::size_t>(window.document)].name},
                      {"first_token", window.first_token},
                      {"tokens", scores[w].tokens},
                      {"nll_nats", scores[w].nll_nats}});
    }
    item["nll_nats"] = nll_nats;
    item["tokens"] = row.tokens(0);
    item["difference_nats"] = row.differences[0].nats_per_token;
    item["difference_standard_error"] = row.differences[0].standard_error;
    add_metrics(row, item);
    item["windows"] = list;
    item["elapsed_s"] = row.result.elapsed_s;
    item["status"] = search::kStatusNames[static_cast<std::size_t>(row.result.status)];
    if (!row.result.reason.empty()) item["reason"] = row.result.reason;
    root["results"].push_back(item);
  }
  return root;
}

}  // namespace longrope::cli
