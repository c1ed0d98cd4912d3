#include "search/cli/search_report.hpp"

#include <fmt/core.h>

#include <cmath>

#include "search/cli/command.hpp"
#include "search/cli/objective_setup.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
using search::StageProgress;

std::string line(const StageProgress& p) {
  const std::string generation = p.generation < 0 ? "baselines" : fmt::format("generation {}", p.generation);
  std::string text =
      fmt::format("{:<13}  evaluations {}  cost {:.1f}/{:g}", generation, p.evaluations, p.cost, p.budget);
  if (std::isfinite(p.best)) text += fmt::format("  best {} {:.4f}", p.label, p.best);
  if (std::isfinite(p.best) && std::isfinite(p.baseline))
    text += fmt::format("  gain {:.2f}%", 100.0 * (p.baseline - p.best) / p.baseline);
  if (p.cost_per_s > 0.0) text += fmt::format("  {:.3g} full evaluations/s", p.cost_per_s);
  if (std::isfinite(p.remaining_s)) text += fmt::format("  {} left", format_duration(p.remaining_s));
  return text;
}

Json values_json(const std::vector<double>& values, const std::vector<search::Objective>& objectives) {
  Json json = Json::object();
  for (std::size_t k = 0; k < objectives.size() && k < values.size(); ++k) json[objectives[k].to_string()] = values[k];
  return json;
}

const char* stop_reason_text(search::StopReason reason) {
  switch (reason) {
    case search::StopReason::budget:
      return "the budget is spent";
    case search::StopReason::patience:
      return "nothing moved for as long as --patience allows";
    case search::StopReason::strategy_ended:
      return "the strategy has ended";
    case search::StopReason::interrupted:
      return "interrupted";
  }
  return "";
}

void print_frontier(const search::StageOptions& options, const search::StageResult& result) {
  fmt::print("\nfrontier (hypervolume {:.6g} below the worst baseline, in ln PPL)\n{:>8}", result.hypervolume, "id");
  for (const search::Objective& objective : options.objectives) fmt::print("  {:>12}", objective.to_string());
  fmt::print("\n");
  for (const search::StorePoint& point : result.frontier) {
    fmt::print("{:>8}", point.id);
    for (const double value : point.objectives) fmt::print("  {:>12.4f}", value);
    fmt::print("\n");
  }
}

}  // namespace

void Display::task(const StageProgress& p) {
  const std::lock_guard lock(mutex_);
  print_title();
  if (!stderr_is_terminal()) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  live_line(line(p));
}

void Display::generation(const StageProgress& p) {
  const std::lock_guard lock(mutex_);
  print_title();
  if (stderr_is_terminal()) {
    live_line(line(p));
  } else {
    StageProgress finished = p;
    --finished.generation;
    fmt::print(stderr, "{}\n", line(finished));
  }
}

void Display::print_title() {
  if (!title_.empty()) fmt::print(stderr, "{}\n", title_);
  title_.clear();
}

Json frontier_json(const std::vector<search::StorePoint>& frontier, const std::vector<search::Objective>& objectives) {
  Json list = Json::array();
  for (const search::StorePoint& point : frontier)
    list.push_back({{"id", point.id}, {"objectives", values_json(point.objectives, objectives)}});
  return list;
}

Json holdout_json(const search::HoldoutReport& report, const search::Objective& objective) {
  Json root;
  root["results"] = Json::array();
  for (const search::StoreHoldoutRow& row : report.rows) {
    root["results"].push_back({{"name", row.name},
                               {"id", row.id},
                               {objective.key(), row.result.first()},
                               {"objectives", row.result.objectives},
                               {"status", search::kStatusNames[static_cast<std::size_t>(row.result.status)]}});
  }
  const auto difference = [](const std::optional<search::HoldoutDifference>& d) -> Json {
    if (!d) return nullptr;
    return {{"to", d->to},
            {"nats_per_token", d->difference.nats_per_token},
            {"standard_error", d->difference.standard_error},
            {"clusters", d->difference.clusters},
            {"significant", d->significant}};
  };
  root["difference_to_baseline"] = difference(report.to_baseline);
  root["difference_to_runner_up"] = difference(report.to_runner_up);
  root["search_gain_percent"] = 100.0 * report.search_gain;
  root["holdout_gain_percent"] = 100.0 * report.holdout_gain;
  root["overfitted"] = report.overfitted;
  root["verdict"] = report.verdict;
  return root;
}

Json search_json(const search::StageOptions& options, const search::StageResult& result) {
  const search::Candidate& best = result.best.candidate;
  Json root;
  root["store"] = options.store.string();
  root["stage"] = options.header.stage.name;
  root["best"] = {{"id", best.id},
                  {"factors", best.factors},
                  {"start_tokens", best.start_tokens},
                  {"attention_factor", best.attention_factor},
                  {options.objectives.front().key(), best.id < 0 ? std::nan("") : result.best.result.first()},
                  {"objectives", values_json(result.best.result.objectives, options.objectives)}};
  Json baselines;
  const std::vector<std::string> names = search::baseline_names(options.header.stage);
  for (std::size_t i = 0; i < search::kBaselineCandidates || i < result.baselines.size(); ++i) {
    baselines[names[i]] = i < result.baselines.size() ? result.baselines[i].result.first() : std::nan("");
  }
  root["baselines"] = baselines;
  root["evaluations"] = result.evaluations;
  root["cost_full_evaluations"] = result.cost_full_evaluations;
  root["elapsed_s"] = result.elapsed_s;
  root["status"] = result.interrupted() ? "interrupted" : "done";
  root["stop_reason"] = search::kStopReasonNames[static_cast<std::size_t>(result.stop_reason)];
  root["strategy_cost_full_evaluations"] = result.strategy_cost;
  root["strategy_s"] = result.strategy_s;
  root["racing"] = {{"confidence", options.racing ? Json(*options.racing) : Json(nullptr)},
                    {"dropped", result.raced_out},
                    {"cost_saved", static_cast<double>(result.evaluations) - result.strategy_cost}};
  root["frontier"] = frontier_json(result.frontier, options.objectives);
  root["hypervolume"] = result.hypervolume;
  root["key_tokens"] = key_tokens_json(options.header.corpus.key_tokens, options.objectives);
  root["holdout"] = result.holdout ? holdout_json(*result.holdout, options.objectives.front()) : Json(nullptr);
  return root;
}

void print_holdout(const search::HoldoutReport& report, const search::Objective& objective) {
  fmt::print("\n{:<10}  {:>10}  (held-out text)\n", "rope", objective.label());
  for (const search::StoreHoldoutRow& row : report.rows)
    fmt::print("{:<10}  {:>10.4f}\n", row.name, row.result.first());
  fmt::print("{}\n", report.verdict);
}

void print_search_summary(const search::StageOptions& options, const search::StageResult& result) {
  const search::Candidate& best = result.best.candidate;
  fmt::print("target length {}, protocol {}, {} windows, strategy {}\n\n", options.header.stage.target_length,
             options.header.corpus.protocol, options.header.corpus.window_length.size(), options.strategy);
  fmt::print("{:<10}", "rope");
  const bool several = options.objectives.size() > 1;
  for (const search::Objective& objective : options.objectives)
    fmt::print("  {:>10}", several ? objective.to_string() : objective.label());
  fmt::print("  {:>8}\n", "gain");
  double best_baseline = std::nan("");
  const std::vector<std::string> names = search::baseline_names(options.header.stage);
  for (std::size_t i = 0; i < result.baselines.size(); ++i) {
    const std::vector<double>& values = result.baselines[i].result.objectives;
    if (i < search::kBaselineCandidates && !(values[0] >= best_baseline) && std::isfinite(values[0]))
      best_baseline = values[0];
    fmt::print("{:<10}", names[i]);
    for (const double value : values) fmt::print("  {:>10.4f}", value);
    fmt::print("\n");
  }
  if (best.id >= 0) {
    fmt::print("{:<10}", "searched");
    for (const double value : result.best.result.objectives) fmt::print("  {:>10.4f}", value);
    fmt::print("  {:>7.2f}%  over the best of {}, {} and {}\n",
               100.0 * (best_baseline - result.best.result.first()) / best_baseline, names[0], names[1], names[2]);
  }
  const Json keys = key_tokens_json(options.header.corpus.key_tokens, options.objectives);
  for (const auto& [objective, counts] : keys.items()) {
    fmt::print("{}: {} of {} scored tokens are key ({:.2f}%)\n", objective, counts["tokens"].get<std::int64_t>(),
               counts["scored"].get<std::int64_t>(), 100.0 * counts["share"].get<double>());
  }
  fmt::print("\n{} evaluations in {} ({:.1f} full evaluations of cost, baselines included); {}\n", result.evaluations,
             format_duration(result.elapsed_s), result.cost_full_evaluations, stop_reason_text(result.stop_reason));
  if (options.racing) {
    fmt::print("racing at {:g}: {} dropped early, {:.1f} full evaluations saved\n", *options.racing, result.raced_out,
               static_cast<double>(result.evaluations) - result.strategy_cost);
  }
  if (best.id >= 0) {
    std::string factors;
    for (const double factor : best.factors) factors += fmt::format(" {:.4g}", factor);
    fmt::print("best table: id {}, attention factor {:.6g}, start tokens {}\nfactors:{}\n", best.id,
               best.attention_factor, best.start_tokens, factors);
  }
  if (several) print_frontier(options, result);
  if (result.holdout) print_holdout(*result.holdout, options.objectives.front());
  fmt::print("store: {}\n", options.store.string());
}

}  // namespace longrope::cli
