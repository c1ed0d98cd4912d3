// `longrope inspect`: what a store holds, also while it is being written.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/error.hpp"
#include "search/cli/command.hpp"
#include "search/search_driver.hpp"
#include "search/store.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
using search::StoreContents;
using search::StoreRow;

const StoreRow* best_of(const StoreContents& contents) {
  if (contents.generations.empty()) return nullptr;
  const std::int64_t id = contents.generations.back().best_id;
  return id < 0 ? nullptr : &contents.rows[static_cast<std::size_t>(id)];
}

/// "running" means a writer's flag and no final status: it runs, or was killed.
std::string status_of(const StoreContents& contents) {
  if (contents.header.stage.status == "running") return "running, or killed (--resume continues it)";
  return contents.header.stage.status;
}

Json row_json(const StoreRow& row) {
  return {{"id", row.candidate.id},
          {"generation", row.candidate.generation},
          {"origin", search::kOriginNames[static_cast<std::size_t>(row.candidate.origin)]},
          {"factors", row.candidate.factors},
          {"start_tokens", row.candidate.start_tokens},
          {"attention_factor", row.candidate.attention_factor},
          {"ppl", row.result.objective},
          {"status", search::kStatusNames[static_cast<std::size_t>(row.result.status)]}};
}

Json to_json(const std::string& file, const StoreContents& c) {
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
  Json stage;
  stage["name"] = c.header.stage.name;
  stage["target_length"] = c.header.stage.target_length;
  stage["strategy"] = c.header.stage.strategy;
  stage["objectives"] = c.header.stage.objectives;
  stage["budget"] = c.header.stage.budget;
  stage["status"] = c.header.stage.status;
  stage["evaluations"] =
      std::count_if(c.rows.begin(), c.rows.end(), [](const StoreRow& row) { return row.candidate.generation >= 0; });
  stage["cost_full_evaluations"] = c.generations.empty() ? 0.0 : c.generations.back().cost;
  stage["elapsed_s"] = c.generations.empty() ? 0.0 : c.generations.back().elapsed_s;
  stage["baselines"] = Json::object();
  for (std::size_t i = 0;
       i < c.rows.size() && c.rows[i].candidate.generation < 0 && i < std::size(search::kBaselineNames); ++i) {
    stage["baselines"][search::kBaselineNames[i]] = c.rows[i].result.objective;
  }
  const StoreRow* best = best_of(c);
  stage["best"] = best == nullptr ? Json(nullptr) : row_json(*best);
  stage["generations"] = Json::array();
  for (const search::StoreGeneration& g : c.generations) {
    stage["generations"].push_back({{"generation", g.generation},
                                    {"best_id", g.best_id},
                                    {"best_objective", g.best_objective},
                                    {"evaluations", g.evaluations},
                                    {"cost", g.cost},
                                    {"elapsed_s", g.elapsed_s}});
  }
  root["stages"] = Json::array({stage});
  return root;
}

void print_text(const std::string& file, const StoreContents& c) {
  fmt::print("store    {} (longrope {}, {}, seed {})\n", file, c.header.program_version, c.header.created_utc,
             c.header.seed);
  fmt::print("model    {} {}, {} parameters, rotary_dim {}, theta {:g}, trained on {} tokens\n", c.header.model.name,
             c.header.model.architecture, c.header.model.parameters, c.header.model.rotary_dim, c.header.model.theta,
             c.header.model.original_length);
  fmt::print("corpus   {} documents, {} windows, protocol {}\n", c.header.corpus.document_names.size(),
             c.header.corpus.window_length.size(), c.header.corpus.protocol);
  fmt::print("stage    {}: {} tokens, {}, {}, budget {}, {}\n", c.header.stage.name, c.header.stage.target_length,
             c.header.stage.strategy, c.header.stage.objectives, c.header.stage.budget, status_of(c));
  if (c.generations.empty()) {
    fmt::print("\nno generation is finished yet\n");
    return;
  }
  fmt::print("\n{:<10}  {:>10}\n", "baseline", "PPL");
  for (std::size_t i = 0;
       i < c.rows.size() && c.rows[i].candidate.generation < 0 && i < std::size(search::kBaselineNames); ++i) {
    fmt::print("{:<10}  {:>10.4f}\n", search::kBaselineNames[i], c.rows[i].result.objective);
  }
  fmt::print("\n{:>10}  {:>11}  {:>10}  {:>8}  {:>8}  {:>8}\n", "generation", "evaluations", "best PPL", "best id",
             "cost", "seconds");
  for (const search::StoreGeneration& g : c.generations) {
    fmt::print("{:>10}  {:>11}  {:>10.4f}  {:>8}  {:>8.1f}  {:>8.1f}\n",
               g.generation < 0 ? "baselines" : std::to_string(g.generation), g.evaluations, g.best_objective,
               g.best_id, g.cost, g.elapsed_s);
  }
  if (const StoreRow* best = best_of(c)) {
    std::string factors;
    for (const double factor : best->candidate.factors) factors += fmt::format(" {:.4g}", factor);
    fmt::print(
        "\nbest     id {} ({}, generation {}): PPL {:.4f}, attention factor {:.6g}, start tokens {}\nfactors {}\n",
        best->candidate.id, search::kOriginNames[static_cast<std::size_t>(best->candidate.origin)],
        best->candidate.generation, best->result.objective, best->candidate.attention_factor,
        best->candidate.start_tokens, factors);
  }
}

}  // namespace

int run_inspect(const std::vector<std::string>& arguments) {
  po::options_description options("Options");
  options.add_options()("store", po::value<std::string>(), "HDF5 store of a search")(
      "json", "print one JSON document instead of text");
  po::variables_map values;
  if (!parse_options("Usage: longrope inspect --store FILE [--json]", options, arguments, values)) return kDone;
  const std::string file = require_option(values, "store");
  const StoreContents contents = search::read_store(file);
  if (values.count("json") != 0) {
    std::cout << to_json(file, contents).dump(1) << "\n";
  } else {
    print_text(file, contents);
  }
  return kDone;
}

}  // namespace longrope::cli
