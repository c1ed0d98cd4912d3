// How a search went: the best objective against what was spent, and its frontiers where there are several objectives.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "search/cli/report/html.hpp"
#include "search/cli/report/plot.hpp"
#include "search/cli/report/view.hpp"
#include "search/stage_record.hpp"

namespace longrope::cli {
namespace {

/// The frame of perplexities that are worth a look: from the best to a little above where the search began, or to the
/// best baseline. One bad candidate must not press everything else into a line.
void frame_from_best(PlotAxis& axis, double best, double reference) {
  const double span = std::max(std::log(std::max(reference, best) / best), 0.004);
  axis.logarithmic = true;
  axis.low = best * std::exp(-0.12 * span);
  axis.high = best * std::exp(1.5 * span);
}

std::string title_of(const search::StoreRow& row) {
  std::string values;
  for (const double value : row.result.objectives)
    values += fmt::format("{}{}", values.empty() ? "" : " / ", number(value));
  return fmt::format("id {}, generation {}, {}: {}", row.candidate.id, row.candidate.generation,
                     search::kOriginNames[static_cast<std::size_t>(row.candidate.origin)], values);
}

std::string generations_table(const StageView& stage) {
  std::vector<std::vector<std::string>> rows;
  const auto& generations = stage.contents->generations;
  for (const std::size_t g : thinned(generations.size(), 400)) {
    const search::StoreGeneration& one = generations[g];
    const auto key = [&](const char* what) { return key_of(stage, fmt::format("generations.{}.{}", g, what)); };
    rows.push_back({one.generation < 0 ? "baselines" : std::to_string(one.generation), grouped(one.evaluations),
                    figure(key("cost"), one.cost, fixed(one.cost, 1)),
                    figure(key("best_objective"), one.best_objective),
                    one.best_id < 0 ? "-" : std::to_string(one.best_id), fixed(one.elapsed_s, 1)});
  }
  return details("Figures", html_table({"generation", "rows", "cost", "best objective", "best id", "seconds"}, rows));
}

/// Frontiers of three moments: the first that is there, one midway, the last.
std::vector<const search::StoreGeneration*> moments(const StageView& stage) {
  std::vector<const search::StoreGeneration*> with, chosen;
  for (const search::StoreGeneration& generation : stage.contents->generations) {
    if (!generation.frontier.empty()) with.push_back(&generation);
  }
  if (with.empty()) return {};
  for (const std::size_t at : {std::size_t{0}, with.size() / 2, with.size() - 1}) {
    if (chosen.empty() || chosen.back() != with[at]) chosen.push_back(with[at]);
  }
  return chosen;
}

std::string moment_name(const search::StoreGeneration& generation) {
  return generation.generation < 0 ? "baselines" : fmt::format("generation {}", generation.generation);
}

std::string frontier_chart(const StageView& stage, std::size_t k) {
  const std::vector<const search::StoreGeneration*> shown = moments(stage);
  Plot plot;
  plot.title = fmt::format("frontier of {} and {}", stage.objectives[0].to_string(), stage.objectives[k].to_string());
  plot.x = {stage.objectives[0].to_string(), 0, 0, true};
  plot.y = {stage.objectives[k].to_string(), 0, 0, true};
  std::vector<double> xs, ys;
  for (const search::StorePoint& point : shown.back()->frontier) {
    xs.push_back(point.objectives[0]);
    ys.push_back(point.objectives[k]);
  }
  if (const StageView::Baseline* best = stage.best_baseline()) {
    xs.push_back(best->row->result.objectives[0]);
    ys.push_back(best->row->result.objectives[k]);
  }
  frame(plot.x, xs, 0.15);
  frame(plot.y, ys, 0.15);
  PlotSeries dust{PlotSeries::Kind::dots, "dust", {}, 2.0};
  for (const std::size_t i : thinned(stage.rows().size(), kMaxDots)) {
    const search::StoreRow& row = stage.rows()[i];
    if (search::is_contender(row) && row.candidate.generation >= 0)
      dust.points.push_back({row.result.objectives[0], row.result.objectives[k], ""});
  }
  plot.series.push_back(dust);
  std::vector<LegendEntry> legend;
  const char* const colours[] = {"base", "extra", "best"};
  for (std::size_t m = 0; m < shown.size(); ++m) {
    const char* css = colours[m + 3 - shown.size()];
    PlotSeries line{PlotSeries::Kind::line, css, {}}, dots{PlotSeries::Kind::dots, css, {}, 3.4};
    for (const search::StorePoint& point : shown[m]->frontier) {
      dots.points.push_back(
          {point.objectives[0], point.objectives[k], title_of(stage.rows()[static_cast<std::size_t>(point.id)])});
    }
    std::stable_sort(dots.points.begin(), dots.points.end(),
                     [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
    line.points = dots.points;
    if (stage.objectives.size() == 2) plot.series.push_back(line);  // of more, a projection is no staircase
    plot.series.push_back(dots);
    legend.push_back({css, moment_name(*shown[m])});
  }
  for (const StageView::Baseline& b : stage.baselines) {
    plot.series.push_back({PlotSeries::Kind::dots,
                           colour_of(b.name),
                           {{b.row->result.objectives[0], b.row->result.objectives[k], shown_name(b.name)}},
                           5.0});
    legend.push_back({colour_of(b.name),
                      fmt::format("{} {} / {}", escape(shown_name(b.name), 40), number(b.row->result.objectives[0], 4),
                                  number(b.row->result.objectives[k], 4)),
                      true});
  }
  if (stage.chosen != nullptr && stage.table != nullptr) {
    plot.series.push_back({PlotSeries::Kind::dots,
                           "ink",
                           {{stage.chosen->result.objectives[0], stage.chosen->result.objectives[k],
                             "the table: " + title_of(*stage.chosen)}},
                           4.4});
    legend.push_back({"ink", "the table", true});
  }
  legend.push_back({"dust", "candidates", true});
  std::string text =
      "Candidates that no other beats in every objective. Lower and further left is better; what lies outside the "
      "frame "
      "is only in the legend.";
  if (const double volume = stage.contents->generations.back().hypervolume; k == 1 && std::isfinite(volume)) {
    text += fmt::format(" Hypervolume below the worst of the formulas, in ln PPL: {}.",
                        figure(key_of(stage, "hypervolume"), volume, 4));
  }
  return chart_card(
      fmt::format("Frontier: {} and {}", stage.objectives[0].to_string(), stage.objectives[k].to_string()), text,
      draw(plot), legend);
}

}  // namespace

std::string progress_chart(const StageView& stage) {
  const auto& generations = stage.contents->generations;
  if (generations.empty()) return "";
  Plot plot;
  plot.title = fmt::format("best {} against cost", shown_measure(stage.objectives.front()));
  plot.x.label = "full evaluations spent";
  plot.y.label = stage.objectives.front().to_string();
  PlotSeries best{PlotSeries::Kind::steps, "best", {}}, marks{PlotSeries::Kind::dots, "best", {}, 2.6};
  double first = std::numeric_limits<double>::quiet_NaN(), last = first;
  for (const search::StoreGeneration& g : generations) {
    if (g.best_id < 0 || !(g.best_objective > 0.0) || !std::isfinite(g.best_objective)) continue;
    if (!std::isfinite(first)) first = g.best_objective;
    last = g.best_objective;
    best.points.push_back({g.cost, g.best_objective, ""});
    marks.points.push_back(
        {g.cost, g.best_objective,
         fmt::format("{}: {} after {}", moment_name(g), number(g.best_objective), fixed(g.cost, 1))});
  }
  if (best.points.empty()) return "";
  double reference = first;
  const StageView::Baseline* baseline = stage.best_baseline();
  if (baseline != nullptr) reference = std::max(reference, baseline->row->result.first());
  frame_from_best(plot.y, last, reference);
  frame(plot.x, {0.0, std::max(stage.cost(), 1.0)}, 0.02);
  std::vector<PlotPoint> whole, raced;
  std::size_t above = 0;
  double spent = 0.0;
  std::vector<double> costs;
  for (const search::StoreRow& row : stage.rows()) costs.push_back(spent += row.result.cost);
  for (const std::size_t i : thinned(stage.rows().size(), kMaxDots)) {
    const search::StoreRow& row = stage.rows()[i];
    if (row.candidate.generation < 0 || !std::isfinite(row.result.first())) continue;
    above += row.result.first() > plot.y.high ? 1U : 0U;
    (row.result.complete() ? whole : raced).push_back({costs[i], row.result.first(), title_of(row)});
  }
  std::vector<LegendEntry> legend{{"best", fmt::format("best so far: {}", number(last))}};
  for (const StageView::Baseline& b : stage.baselines) {
    const double value = b.row->result.first();
    plot.rules.push_back({false, value, colour_of(b.name), ""});
    legend.push_back({colour_of(b.name), fmt::format("{} {}{}", escape(shown_name(b.name), 40),
                                                     figure(key_of(stage, "baselines." + b.name), value),
                                                     value > plot.y.high  ? " (above the frame)"
                                                     : value < plot.y.low ? " (below the frame)"
                                                                          : "")});
  }
  if (!whole.empty()) legend.push_back({"dust", "candidates", true});
  plot.series.push_back({PlotSeries::Kind::dots, "dust", std::move(whole), 2.2});
  if (!raced.empty()) {
    legend.push_back({"yarn", "dropped early: estimates", true});
    plot.series.push_back({PlotSeries::Kind::dots, "yarn", std::move(raced), 1.8});
  }
  plot.series.push_back(best);
  plot.series.push_back(marks);
  std::string text = fmt::format("The best of everything scored so far, {} windows, protocol {}.", stage.windows(),
                                 escape(stage.header().corpus.protocol));
  if (above > 0) text += fmt::format(" {} of the candidates shown lie above the frame.", above);
  return chart_card("Progress", text, draw(plot), legend, generations_table(stage));
}

std::string frontier_charts(const StageView& stage) {
  if (stage.objectives.size() < 2 || moments(stage).empty()) return "";
  std::string out;
  for (std::size_t k = 1; k < stage.objectives.size(); ++k) out += frontier_chart(stage, k);
  return out;
}

}  // namespace longrope::cli
