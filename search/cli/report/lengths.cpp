// What each stage cost, and perplexity against length: of all stages, and of a repair's tables at short context.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "search/cli/command.hpp"
#include "search/cli/report/html.hpp"
#include "search/cli/report/plot.hpp"
#include "search/cli/report/view.hpp"

namespace longrope::cli {
namespace {

/// A table of one stage and its objectives, [K].
struct Scored {
  const StageView* stage;
  std::string key, name;
  const std::vector<double>* objectives;
};

std::vector<Scored> scored_tables(const std::vector<StageView>& stages) {
  std::vector<Scored> tables;
  for (const StageView& stage : stages) {
    const bool repair = stage.table != nullptr && stage.table->has_short();
    const std::vector<double>& original = stage.header().stage.original_objectives;
    if (!original.empty()) tables.push_back({&stage, "length.original", "original", &original});
    for (const StageView::Baseline& b : stage.baselines)
      tables.push_back({&stage, "length.baseline." + b.name, b.name, &b.row->result.objectives});
    if (stage.chosen != nullptr)
      tables.push_back({&stage, "length.chosen", repair ? "repaired" : "best", &stage.chosen->result.objectives});
  }
  return tables;
}

/// A repair's own yardsticks are a few thousandths from its table: figures, but no curves.
bool is_drawn(const std::string& name) { return name != "identity" && name != "half" && name != "plain"; }

std::string lengths_table(const std::vector<Scored>& tables) {
  std::vector<std::vector<std::string>> rows;
  for (const Scored& table : tables) {
    const StageView& stage = *table.stage;
    for (std::size_t k = 0; k < std::min(table.objectives->size(), stage.objectives.size()); ++k) {
      const std::string key = fmt::format("{}.{}", table.key, stage.objectives[k].to_string());
      rows.push_back({escape(stage.name()), escape(shown_name(table.name)), grouped(stage.objectives[k].length),
                      stage.objectives[k].label(), figure(key_of(stage, key), (*table.objectives)[k])});
    }
  }
  return html_table({"stage", "table", "tokens", "objective", "value"}, rows, 2);
}

}  // namespace

std::string cost_chart(const std::vector<StageView>& stages) {
  std::vector<Bar> bars, seconds;
  bool any_raced = false, any_bad = false;
  for (const StageView& stage : stages) {
    double baselines = 0.0, whole = 0.0, raced = 0.0, bad = 0.0;
    for (const search::StoreRow& row : stage.rows()) {
      double& sum = row.candidate.generation < 0                     ? baselines
                    : row.result.status == search::Status::ok        ? whole
                    : row.result.status == search::Status::raced_out ? raced
                                                                     : bad;
      if (std::isfinite(row.result.cost)) sum += row.result.cost;
    }
    any_raced = any_raced || raced > 0.0;
    any_bad = any_bad || bad > 0.0;
    bars.push_back({fmt::format("{} ({} tokens)", stage.name(), stage.header().stage.target_length),
                    fmt::format("{} full evaluations", number(stage.cost(), 4)),
                    {{"none", baselines}, {"best", whole}, {"yarn", raced}, {"pi", bad}}});
    seconds.push_back({stage.name(), format_duration(stage.elapsed_s()), {{"extra", stage.elapsed_s()}}});
  }
  std::vector<LegendEntry> legend{{"none", "baselines"}, {"best", "scored whole"}};
  if (any_raced) legend.push_back({"yarn", "dropped by racing"});
  if (any_bad) legend.push_back({"pi", "failed"});
  legend.push_back({"extra", "time"});
  return chart_card(
      "Cost of each stage",
      "A full evaluation is every window at full length, so one costs more in a stage for longer context; below, the "
      "time that each took.",
      draw_bars("cost of each stage in full evaluations", bars) + draw_bars("time of each stage", seconds), legend);
}

std::string length_chart(const std::vector<StageView>& stages) {
  const std::vector<Scored> tables = scored_tables(stages);
  std::map<std::string, std::vector<PlotPoint>> points;
  std::vector<std::string> order;
  std::vector<double> lengths, values;
  double found = 0.0;  // highest perplexity of a table that a stage found
  for (const Scored& table : tables) {
    if (!is_drawn(table.name)) continue;
    for (std::size_t k = 0; k < std::min(table.objectives->size(), table.stage->objectives.size()); ++k) {
      const double value = (*table.objectives)[k];
      if (!std::isfinite(value) || !(value > 0.0)) continue;
      if (table.stage->objectives[k].kind != stages.front().objectives.front().kind) continue;  // no other's curve
      const std::int64_t length = table.stage->objectives[k].length;
      if (points.find(table.name) == points.end()) order.push_back(table.name);
      points[table.name].push_back(
          {static_cast<double>(length), value,
           fmt::format("{}, {} at {} tokens: {}", table.stage->name(), shown_name(table.name), length, number(value))});
      if (table.name == "best" || table.name == "repaired") found = std::max(found, value);
      lengths.push_back(static_cast<double>(length));
      values.push_back(value);
    }
  }
  if (values.empty()) return "";
  const std::string measure = shown_measure(stages.front().objectives.front());
  Plot plot;
  plot.title = measure + " against length";
  plot.x.label = "tokens";
  plot.x.logarithmic = plot.x.tokens = true;
  plot.y.label = measure;
  plot.y.logarithmic = true;
  frame(plot.x, lengths, 0.1);
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  plot.x.ticks = lengths;
  // One bad formula must not press the others into a line: it leaves the frame instead.
  const double limit = 3.0 * std::max(found, *std::min_element(values.begin(), values.end()));
  values.erase(std::remove_if(values.begin(), values.end(), [&](double value) { return value > limit; }), values.end());
  frame(plot.y, values);
  std::vector<LegendEntry> legend;
  for (const std::string& name : order) {
    std::vector<PlotPoint>& line = points[name];
    std::stable_sort(line.begin(), line.end(), [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
    const std::string css = colour_of(name);
    plot.series.push_back({PlotSeries::Kind::line, css, line});
    plot.series.push_back({PlotSeries::Kind::dots, css, line, css == "best" ? 4.4 : 3.4});
    const bool leaves = std::any_of(line.begin(), line.end(), [&](const PlotPoint& p) { return p.y > limit; });
    legend.push_back({css, escape(shown_name(name), 60) + (leaves ? " (leaves the frame)" : "")});
  }
  std::string title = plot.title;
  title.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(title.front())));
  return chart_card(title,
                    "Each stage on its own windows, and on its own checkpoint where the model was fine-tuned between "
                    "them.",
                    draw(plot), legend, details("Figures", lengths_table(tables)));
}

std::string repair_card(const StageView& stage) {
  const std::vector<double>& original = stage.header().stage.original_objectives;
  if (original.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& name, const std::vector<double>& values) {
    std::vector<std::string> row{name};
    for (std::size_t k = 0; k < std::min(values.size(), original.size()); ++k) {
      const bool same = &values == &original;
      row.push_back(number(values[k]) + (same ? "" : fmt::format(" ({})", percent(values[k] / original[k]))));
    }
    rows.push_back(std::move(row));
  };
  add("original model", original);
  for (const StageView::Baseline& b : stage.baselines) {
    if (b.name == "long") add("long table", b.row->result.objectives);
  }
  if (stage.chosen != nullptr)
    add(stage.table != nullptr ? "repaired table" : "best so far", stage.chosen->result.objectives);
  std::vector<std::string> head{"table"};
  for (const search::Objective& objective : stage.objectives) head.push_back(objective.to_string());
  return fmt::format(
      "<div class=\"card\"><h3>Short context</h3><p>In brackets: against the original model, on the same {} windows of "
      "each length.</p>{}</div>\n",
      stage.windows(), html_table(head, rows));
}

}  // namespace longrope::cli
