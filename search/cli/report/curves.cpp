// Factor curves against the pair index, with the critical dimension marked, and the table itself.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/rope_geometry.hpp"
#include "model/scaling_methods.hpp"
#include "search/cli/report/html.hpp"
#include "search/cli/report/plot.hpp"
#include "search/cli/report/view.hpp"

namespace longrope::cli {
namespace {

constexpr std::size_t kNextBest = 20;

struct Curve {
  std::string name, css;
  std::vector<double> factors;
};

/// The formulas at the stage's scale, for a store that has no row yet.
std::vector<Curve> formula_curves(const search::StoreHeader& header) {
  const model::RopeGeometry geometry{header.model.rotary_dim, header.model.theta, header.model.original_length};
  const double scale =
      static_cast<double>(header.stage.target_length) / static_cast<double>(header.model.original_length);
  if (!(scale > 1.0) || !(geometry.theta > 1.0)) return {};
  return {{"PI", "pi", model::pi_factors(geometry, scale)},
          {"NTK", "ntk", model::ntk_factors(geometry, scale)},
          {"YaRN", "yarn", model::yarn_factors(geometry, scale)}};
}

std::vector<Curve> named_curves(const StageView& stage) {
  std::vector<Curve> curves;
  for (const StageView::Baseline& b : stage.baselines) {
    if (b.name == "none" || b.name == "plain") continue;
    curves.push_back({shown_name(b.name), colour_of(b.name), b.row->candidate.factors});
  }
  if (curves.empty()) curves = formula_curves(stage.header());
  if (!stage.header().stage.base_factors.empty())
    curves.push_back({"base that the factors multiply", "base", stage.header().stage.base_factors});
  if (stage.best != nullptr && stage.chosen != stage.best)
    curves.push_back({"best first objective", "extra", stage.best->candidate.factors});
  if (stage.chosen != nullptr) {
    const bool repair = stage.table != nullptr && stage.table->has_short();
    curves.push_back({repair                   ? "repaired table"
                      : stage.table != nullptr ? "table"
                                               : "best table so far",
                      "best", stage.chosen->candidate.factors});
  }
  return curves;
}

std::vector<PlotPoint> points_of(const std::vector<double>& factors) {
  std::vector<PlotPoint> points;
  for (std::size_t i = 0; i < factors.size(); ++i) points.push_back({static_cast<double>(i), factors[i], ""});
  return points;
}

/// The complete candidates after the best, best first.
std::vector<const search::StoreRow*> next_best(const StageView& stage) {
  std::vector<const search::StoreRow*> rows;
  for (const search::StoreRow& row : stage.rows()) {
    if (row.result.complete() && row.candidate.generation >= 0 && std::isfinite(row.result.first()))
      rows.push_back(&row);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const search::StoreRow* a, const search::StoreRow* b) {
    return a->result.first() < b->result.first();
  });
  rows.resize(std::min(rows.size(), kNextBest));
  return rows;
}

}  // namespace

std::string factor_chart(const StageView& stage) {
  const std::vector<Curve> curves = named_curves(stage);
  if (curves.empty()) return "";
  Plot plot;
  plot.title = "rescale factors against the pair index";
  plot.x.label = "pair index i";
  plot.y.label = "rescale factor \xCE\xBB";
  plot.y.logarithmic = true;
  const auto pairs = static_cast<double>(stage.header().model.rotary_dim / 2);
  frame(plot.x, {0.0, std::max(pairs - 1.0, 1.0)}, 0.02);
  std::vector<double> all;
  for (const Curve& curve : curves) all.insert(all.end(), curve.factors.begin(), curve.factors.end());
  const std::vector<const search::StoreRow*> others = next_best(stage);
  for (const search::StoreRow* row : others) {
    all.insert(all.end(), row->candidate.factors.begin(), row->candidate.factors.end());
    plot.series.push_back({PlotSeries::Kind::line, "dust", points_of(row->candidate.factors)});
  }
  frame(plot.y, all);
  std::vector<LegendEntry> legend;
  for (const Curve& curve : curves) {
    plot.series.push_back({PlotSeries::Kind::line, curve.css, points_of(curve.factors)});
    legend.push_back({curve.css, escape(curve.name, 60)});
  }
  if (!others.empty()) legend.push_back({"dust", fmt::format("the {} best candidates", others.size())});
  std::string text =
      "A factor divides the plain frequency of its pair: fast pairs on the left, slow ones on the right.";
  if (const auto pair = critical_pair(stage.header().model); pair && static_cast<double>(*pair) < pairs) {
    plot.rules.push_back({true, static_cast<double>(*pair), "ink", fmt::format("critical: pair {}", *pair)});
    text +=
        fmt::format(" From pair {} (dimension {}) on, a pair turns less than once within the {} tokens of training.",
                    figure(key_of(stage, "critical_pair"), static_cast<double>(*pair), std::to_string(*pair)),
                    2 * *pair, grouped(stage.header().model.original_length));
  }
  return chart_card("Rescale factors", text, draw(plot), legend);
}

std::string factor_table(const StageView& stage) {
  if (stage.chosen == nullptr) return "";
  const search::Candidate& chosen = stage.chosen->candidate;
  const model::RopeGeometry geometry{stage.header().model.rotary_dim, stage.header().model.theta,
                                     stage.header().model.original_length};
  const bool repair = stage.table != nullptr && stage.table->has_short();
  std::vector<std::string> head{"pair", "period, tokens", repair ? "short \xCE\xBB" : "\xCE\xBB"};
  if (repair) head.push_back("long \xCE\xBB");
  for (const StageView::Baseline& b : stage.baselines) {
    if (b.name != "none" && b.name != "plain" && b.name != "long")
      head.push_back(escape(shown_name(b.name), 40) + " \xCE\xBB");
  }
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < chosen.factors.size(); ++i) {
    const double period = 2.0 * std::numbers::pi / geometry.plain_frequency(static_cast<std::int64_t>(i));
    std::vector<std::string> row{std::to_string(i), number(period, 4),
                                 figure(key_of(stage, fmt::format("table.factors.{}", i)), chosen.factors[i])};
    if (repair) {
      row.push_back(figure(key_of(stage, fmt::format("table.long_factors.{}", i)), stage.table->long_factors[i]));
    }
    for (const StageView::Baseline& b : stage.baselines) {
      if (b.name != "none" && b.name != "plain" && b.name != "long") row.push_back(number(b.row->candidate.factors[i]));
    }
    rows.push_back(std::move(row));
  }
  std::string text = fmt::format(
      "Row {}: {} {}, attention factor {}, start tokens {}.",
      figure(key_of(stage, "table.id"), static_cast<double>(chosen.id), std::to_string(chosen.id)),
      shown_measure(stage.objectives.front()),
      figure(key_of(stage, fmt::format("table.{}", stage.objectives.front().key())), stage.chosen->result.first(), 6),
      figure(key_of(stage, "table.attention_factor"), chosen.attention_factor, 6),
      figure(key_of(stage, "table.start_tokens"), chosen.start_tokens, std::to_string(chosen.start_tokens)));
  if (repair) {
    text += fmt::format(" It is for up to {} tokens; beyond, the long table holds.",
                        figure(key_of(stage, "table.switch_length"), static_cast<double>(stage.table->switch_length),
                               grouped(stage.table->switch_length)));
  }
  return fmt::format("<details class=\"card\"><summary>The {}: {} factors</summary><p>{}</p>{}</details>\n",
                     repair ? "pair of tables" : "table", chosen.factors.size(), text, html_table(head, rows, 0));
}

}  // namespace longrope::cli
