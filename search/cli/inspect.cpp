// `longrope inspect`: what a store holds, also while it is being written.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/needle_report.hpp"
#include "search/cli/objective_setup.hpp"
#include "search/cli/search_report.hpp"
#include "search/frontier_pick.hpp"
#include "search/holdout.hpp"
#include "search/needle_store.hpp"
#include "search/stage_record.hpp"
#include "search/store.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
using search::StoreContents;
using search::StoreRow;

std::int64_t raced_out(const StoreContents& contents) {
  return std::count_if(contents.rows.begin(), contents.rows.end(),
                       [](const StoreRow& row) { return row.result.status == search::Status::raced_out; });
}

const StoreRow* best_of(const StoreContents& contents) {
  if (contents.generations.empty()) return nullptr;
  const std::int64_t id = contents.generations.back().best_id;
  return id < 0 ? nullptr : &contents.rows[static_cast<std::size_t>(id)];
}

/// "running" means a writer's flag and no final status: it runs, or was killed.
std::string status_of(const StoreContents& contents) {
  if (contents.header.stage.status == "running") return "running, or killed (--resume continues it)";
  const std::string& reason = contents.header.stage.stop_reason;
  return contents.header.stage.status + (reason.empty() ? "" : " (" + reason + ")");
}

Json row_json(const StoreRow& row, const search::Objective& first) {
  return {{"id", row.candidate.id},
          {"generation", row.candidate.generation},
          {"origin", search::kOriginNames[static_cast<std::size_t>(row.candidate.origin)]},
          {"factors", row.candidate.factors},
          {"start_tokens", row.candidate.start_tokens},
          {"attention_factor", row.candidate.attention_factor},
          {first.key(), row.result.first()},
          {"objectives", row.result.objectives},
          {"status", search::kStatusNames[static_cast<std::size_t>(row.result.status)]}};
}

std::vector<search::Objective> objectives_of(const StoreContents& contents) {
  return search::parse_objectives(contents.header.stage.objectives, contents.header.stage.target_length);
}

Json stage_json(const StoreContents& c, const StoreRow* picked) {
  const std::vector<search::Objective> objectives = objectives_of(c);
  Json stage;
  stage["name"] = c.header.stage.name;
  stage["target_length"] = c.header.stage.target_length;
  stage["strategy"] = c.header.stage.strategy;
  stage["objectives"] = c.header.stage.objectives;
  stage["key_tokens"] = key_tokens_json(c.header.corpus.key_tokens, objectives);
  stage["budget"] = c.header.stage.budget;
  stage["status"] = c.header.stage.status;
  stage["stop_reason"] = c.header.stage.stop_reason;
  stage["base"] = c.header.stage.base;
  stage["evaluations"] =
      std::count_if(c.rows.begin(), c.rows.end(), [](const StoreRow& row) { return row.candidate.generation >= 0; });
  stage["cost_full_evaluations"] = c.generations.empty() ? 0.0 : c.generations.back().cost;
  stage["elapsed_s"] = c.generations.empty() ? 0.0 : c.generations.back().elapsed_s;
  stage["baselines"] = Json::object();
  const std::vector<std::string> names = search::baseline_names(c.header.stage);
  for (std::size_t i = 0; i < c.rows.size() && c.rows[i].candidate.generation < 0 && i < names.size(); ++i)
    stage["baselines"][names[i]] = c.rows[i].result.first();
  if (!c.header.stage.original_objectives.empty()) stage["original"] = c.header.stage.original_objectives;
  const StoreRow* best = best_of(c);
  stage["best"] = best == nullptr ? Json(nullptr) : row_json(*best, objectives.front());
  stage["raced_out"] = raced_out(c);
  stage["frontier"] = c.generations.empty() ? Json::array() : frontier_json(c.generations.back().frontier, objectives);
  stage["hypervolume"] = c.generations.empty() ? std::nan("") : c.generations.back().hypervolume;
  if (picked != nullptr) stage["picked"] = row_json(*picked, objectives.front());
  const auto holdout = search::stored_holdout(c);
  stage["holdout"] = holdout ? holdout_json(*holdout, objectives.front()) : Json(nullptr);
  stage["generations"] = Json::array();
  for (const search::StoreGeneration& g : c.generations) {
    stage["generations"].push_back({{"generation", g.generation},
                                    {"best_id", g.best_id},
                                    {"best_objective", g.best_objective},
                                    {"evaluations", g.evaluations},
                                    {"cost", g.cost},
                                    {"elapsed_s", g.elapsed_s},
                                    {"hypervolume", g.hypervolume}});
  }
  return stage;
}

Json needle_runs_json(const std::vector<search::NeedleRun>& needles) {
  Json list = Json::array();
  for (const search::NeedleRun& run : needles) {
    Json item{{"name", run.name}, {"status", run.status}, {"cells", run.cells()}, {"finished", run.rows.size()}};
    item.update(needle_json(run, false));
    list.push_back(std::move(item));
  }
  return list;
}

/// Of the root, where a store holds needle runs and no search.
Json needles_only_json(const std::string& file, const std::vector<search::NeedleRun>& needles) {
  const search::NeedleRun& first = needles.front();
  return {{"store", file},
          {"program_version", first.program_version},
          {"created_utc", first.created_utc},
          {"command_line", first.command_line},
          {"seed", first.seed},
          {"stages", Json::array()},
          {"needle", needle_runs_json(needles)}};
}

Json to_json(const std::string& file, const std::vector<StoreContents>& stages, const StoreContents& selected,
             const StoreRow* picked, const std::vector<search::NeedleRun>& needles) {
  const StoreContents& c = stages.front();
  Json root;
  root["store"] = file;
  root["program_version"] = c.header.program_version;
  root["created_utc"] = c.header.created_utc;
  root["command_line"] = c.header.command_line;
  root["seed"] = c.header.seed;
  root["model"] = {{"name", c.header.model.name},
                   {"architecture", c.header.model.architecture},
                   {"parameters", c.header.model.parameters},
                   {"rotary_dim", c.header.model.rotary_dim},
                   {"theta", c.header.model.theta},
                   {"original_length", c.header.model.original_length},
                   {"config_sha256", c.header.model.config_sha256},
                   {"weights_sha256", c.header.model.weights_sha256}};
  root["corpus"] = {{"protocol", c.header.corpus.protocol},
                    {"documents", c.header.corpus.document_names},
                    {"windows", c.header.corpus.window_length.size()}};
  root["stages"] = Json::array();
  for (const StoreContents& stage : stages)
    root["stages"].push_back(stage_json(stage, &stage == &selected ? picked : nullptr));
  root["needle"] = needle_runs_json(needles);
  return root;
}

void print_row(const char* name, const StoreRow& row, const char* label) {
  std::string factors;
  for (const double factor : row.candidate.factors) factors += fmt::format(" {:.4g}", factor);
  std::string values;
  for (const double value : row.result.objectives)
    values += fmt::format("{}{:.4f}", values.empty() ? "" : " / ", value);
  fmt::print("\n{:<8} id {} ({}, generation {}): {} {}, attention factor {:.6g}, start tokens {}\nfactors {}\n", name,
             row.candidate.id, search::kOriginNames[static_cast<std::size_t>(row.candidate.origin)],
             row.candidate.generation, label, values, row.candidate.attention_factor, row.candidate.start_tokens,
             factors);
}

void print_frontier(const StoreContents& c) {
  const std::vector<search::Objective> objectives = objectives_of(c);
  fmt::print("\n{:>10}", "frontier");
  for (const search::Objective& objective : objectives) fmt::print("  {:>12}", objective.to_string());
  fmt::print("\n");
  for (const search::StorePoint& point : c.generations.back().frontier) {
    fmt::print("{:>10}", point.id);
    for (const double value : point.objectives) fmt::print("  {:>12.4f}", value);
    fmt::print("\n");
  }
}

void print_header(const std::string& file, const StoreContents& c) {
  fmt::print("store    {} (longrope {}, {}, seed {})\n", file, c.header.program_version, c.header.created_utc,
             c.header.seed);
}

void print_stage(const StoreContents& c, const StoreRow* picked) {
  fmt::print("model    {} {}, {} parameters, rotary_dim {}, theta {:g}, trained on {} tokens\n", c.header.model.name,
             c.header.model.architecture, c.header.model.parameters, c.header.model.rotary_dim, c.header.model.theta,
             c.header.model.original_length);
  fmt::print("corpus   {} documents, {} windows, protocol {}\n", c.header.corpus.document_names.size(),
             c.header.corpus.window_length.size(), c.header.corpus.protocol);
  fmt::print("stage    {}: {} tokens, {}, {}, budget {}, {}\n", c.header.stage.name, c.header.stage.target_length,
             c.header.stage.strategy, c.header.stage.objectives, c.header.stage.budget, status_of(c));
  const Json keys = key_tokens_json(c.header.corpus.key_tokens, objectives_of(c));
  for (const auto& [objective, counts] : keys.items()) {
    fmt::print("keys     {}: {} of {} scored tokens ({:.2f}%)\n", objective, counts["tokens"].get<std::int64_t>(),
               counts["scored"].get<std::int64_t>(), 100.0 * counts["share"].get<double>());
  }
  if (c.generations.empty()) {
    fmt::print("\nno generation is finished yet\n");
    return;
  }
  const std::vector<search::Objective> objectives = objectives_of(c);
  const char* label = objectives.front().label();
  fmt::print("\n{:<10}  {:>10}\n", "baseline", label);
  const std::vector<std::string> names = search::baseline_names(c.header.stage);
  for (std::size_t i = 0; i < c.rows.size() && c.rows[i].candidate.generation < 0 && i < names.size(); ++i)
    fmt::print("{:<10}  {:>10.4f}\n", names[i], c.rows[i].result.first());
  fmt::print("\n{:>10}  {:>11}  {:>15}  {:>8}  {:>8}  {:>8}\n", "generation", "evaluations",
             fmt::format("best {}", label), "best id", "cost", "seconds");
  for (const search::StoreGeneration& g : c.generations) {
    fmt::print("{:>10}  {:>11}  {:>15.4f}  {:>8}  {:>8.1f}  {:>8.1f}\n",
               g.generation < 0 ? "baselines" : std::to_string(g.generation), g.evaluations, g.best_objective,
               g.best_id, g.cost, g.elapsed_s);
  }
  if (const std::int64_t dropped = raced_out(c); dropped > 0) fmt::print("\n{} dropped by racing\n", dropped);
  if (search::count_objectives(c.header.stage.objectives) > 1) print_frontier(c);
  if (const StoreRow* best = best_of(c)) print_row("best", *best, label);
  if (picked != nullptr) print_row("picked", *picked, label);
  if (const auto holdout = search::stored_holdout(c)) print_holdout(*holdout, objectives.front());
}

void print_needles(const std::vector<search::NeedleRun>& needles) {
  for (const search::NeedleRun& run : needles) {
    fmt::print("\nneedle   {}: {} of {} cells, {}\n", run.name, run.rows.size(), run.cells(), run.status);
    print_needle_run(run);
  }
}

}  // namespace

int run_inspect(const std::vector<std::string>& arguments) {
  po::options_description options("Options");
  options.add_options()("store", po::value<std::string>(), "HDF5 store of a search or of needle runs")(
      "stage", po::value<std::string>(), "one stage of several (default: all of them)")(
      "pick", po::value<std::string>(),
      "one point of the frontier: best, knee, mean, short:X% or ppl@N<=X% (best first objective whose PPL at the "
      "shortest, "
      "or at "
      "that, length is at most X percent above the unscaled model's)")("json",
                                                                       "print one JSON document instead of text");
  po::variables_map values;
  if (!parse_options("Usage: longrope inspect --store FILE [--stage NAME] [--pick RULE] [--json]", options, arguments,
                     values))
    return kDone;
  const std::string file = require_option(values, "store");
  const std::string name = values.count("stage") != 0 ? values["stage"].as<std::string>() : "";
  const bool json = values.count("json") != 0;
  const std::vector<search::NeedleRun> needles = search::read_needle_runs(file);
  std::vector<StoreContents> stages;
  if (name.empty()) {
    stages = search::read_any_stages(file);
    if (stages.empty() && values.count("pick") == 0 && !needles.empty()) {
      if (json) {
        std::cout << needles_only_json(file, needles).dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
      } else {
        fmt::print("store    {} (needle runs only)\n", file);
        print_needles(needles);
      }
      return kDone;
    }
    stages = search::read_stages(file);
  } else {
    stages.push_back(search::read_store(file, name));
  }
  const StoreContents& selected = stages[search::longest_stage(stages)];
  const StoreRow* picked = nullptr;
  if (values.count("pick") != 0) {
    const std::int64_t id = search::pick_from_frontier(selected, values["pick"].as<std::string>());
    picked = &selected.rows[static_cast<std::size_t>(id)];
  }
  if (json) {
    std::cout << to_json(file, stages, selected, picked, needles).dump(1, ' ', false, Json::error_handler_t::replace)
              << "\n";
    return kDone;
  }
  print_header(file, stages.front());
  for (const StoreContents& stage : stages) print_stage(stage, &stage == &selected ? picked : nullptr);
  print_needles(needles);
  return kDone;
}

}  // namespace longrope::cli
