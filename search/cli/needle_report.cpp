#include "search/cli/needle_report.hpp"

#include <fmt/core.h>

#include <cmath>
#include <functional>

#include "search/needle_summary.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
using search::NeedleRow;
using search::NeedleRun;
using search::NeedleSummary;

Json summary_json(const NeedleSummary& summary) {
  const auto [low, high] = summary.accuracy_interval();
  return {{"trials", summary.cells},           {"exact", summary.exact},       {"accuracy", summary.accuracy()},
          {"accuracy_interval", {low, high}},  {"nll_nats", summary.nll_nats}, {"answer_tokens", summary.answer_tokens},
          {"needle_ppl", summary.perplexity()}};
}

Json cell_json(const NeedleRun& run, const NeedleRow& row) {
  return {{"trial", row.trial},
          {"document", row.document < 0 ? Json(nullptr) : Json(run.documents[static_cast<std::size_t>(row.document)])},
          {"answer", row.answer},
          {"generated", row.exact < 0 ? Json(nullptr) : Json(row.generated)},
          {"exact", row.exact < 0 ? Json(nullptr) : Json(row.exact == 1)},
          {"nll_nats", row.nll_nats},
          {"tokens", row.answer_tokens},
          {"prompt_tokens", row.prompt_tokens},
          {"status", search::kStatusNames[static_cast<std::size_t>(row.status)]}};
}

std::string whole_percent(double share) { return std::isfinite(share) ? fmt::format("{:.0f}%", 100.0 * share) : "-"; }
std::string perplexity(double value) { return std::isfinite(value) ? fmt::format("{:.4g}", value) : "-"; }

void print_line(const std::string& head, std::size_t columns, const std::function<std::string(std::size_t)>& cell) {
  fmt::print("{:>8}", head);
  for (std::size_t i = 0; i < columns; ++i) fmt::print("  {:>10}", cell(i));
  fmt::print("\n");
}

}  // namespace

Json needle_json(const NeedleRun& run, bool cells) {
  const search::NeedleTables tables(run);
  Json root;
  root["model"] = run.model.name;
  root["task"] = run.task;
  root["haystack"] = run.haystack;
  root["seed"] = run.seed;
  root["options"] = Json::parse(run.options, nullptr, false);
  if (root["options"].is_discarded()) root["options"] = nullptr;
  root["lengths"] = run.grid.lengths;
  root["depths_percent"] = run.grid.depths_percent;
  root["trials"] = run.grid.trials;
  root["results"] = Json::array();
  root["by_depth"] = Json::array();
  root["by_length"] = Json::array();
  const auto add = [](Json& list, Json item, const NeedleSummary& summary) {
    item.update(summary_json(summary));
    list.push_back(std::move(item));
  };
  for (std::size_t r = 0; r < run.ropes.size(); ++r) {
    for (std::size_t l = 0; l < run.grid.lengths.size(); ++l) {
      for (std::size_t d = 0; d < run.grid.depths_percent.size(); ++d) {
        const auto& rows = tables.rows(r, l, d);
        if (rows.empty()) continue;  // a run that is not complete
        const double depth = run.grid.depths_percent[d];
        add(root["results"], {{"rope", run.ropes[r]}, {"length", run.grid.lengths[l]}, {"depth", depth}},
            search::summarise(rows));
        if (!cells) continue;
        Json& list = root["results"].back()["cells"] = Json::array();
        for (const NeedleRow* row : rows) list.push_back(cell_json(run, *row));
      }
    }
    for (std::size_t d = 0; d < run.grid.depths_percent.size(); ++d) {
      const NeedleSummary summary = tables.of_depth(r, d);
      if (summary.cells > 0)
        add(root["by_depth"], {{"rope", run.ropes[r]}, {"depth", run.grid.depths_percent[d]}}, summary);
    }
    for (std::size_t l = 0; l < run.grid.lengths.size(); ++l) {
      const NeedleSummary summary = tables.of_length(r, l);
      if (summary.cells > 0) add(root["by_length"], {{"rope", run.ropes[r]}, {"length", run.grid.lengths[l]}}, summary);
    }
  }
  return root;
}

void print_needle_run(const NeedleRun& run) {
  const search::NeedleTables tables(run);
  const std::size_t lengths = run.grid.lengths.size();
  fmt::print("{} in {}, {} trials a cell, seed {}: share found (greedy), by depth of the needle and prompt length\n",
             run.task, run.haystack, run.grid.trials, run.seed);
  for (std::size_t r = 0; r < run.ropes.size(); ++r) {
    fmt::print("\n{}\n", run.ropes[r]);
    print_line("depth", lengths, [&](std::size_t l) { return fmt::format("{}", run.grid.lengths[l]); });
    for (std::size_t d = 0; d < run.grid.depths_percent.size(); ++d) {
      print_line(fmt::format("{:g}%", run.grid.depths_percent[d]), lengths,
                 [&](std::size_t l) { return whole_percent(search::summarise(tables.rows(r, l, d)).accuracy()); });
    }
    print_line("all", lengths, [&](std::size_t l) { return whole_percent(tables.of_length(r, l).accuracy()); });
    print_line("95%", lengths, [&](std::size_t l) {
      const auto [low, high] = tables.of_length(r, l).accuracy_interval();
      return std::isfinite(low) ? fmt::format("{:.0f}-{:.0f}%", 100.0 * low, 100.0 * high) : "-";
    });
    print_line("PPL", lengths, [&](std::size_t l) { return perplexity(tables.of_length(r, l).perplexity()); });
  }
}

}  // namespace longrope::cli
