#include "search/cli/report/needle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>

#include "search/cli/report/html.hpp"
#include "search/cli/report/plot.hpp"
#include "search/cli/report/view.hpp"
#include "search/needle_summary.hpp"

namespace longrope::cli {
namespace {

using search::NeedleRun;
using search::NeedleSummary;
using search::NeedleTables;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// gkamradt's red, yellow, green at 0, 0.5 and 1; grey where there is nothing.
std::string heat(double share) {
  if (!std::isfinite(share)) return "#9da2a9";
  constexpr std::array<std::array<double, 3>, 3> stops{{{0xF0, 0x49, 0x6E}, {0xEB, 0xB8, 0x39}, {0x0C, 0xD7, 0x9F}}};
  const double at = std::clamp(share, 0.0, 1.0) * 2.0;
  const std::size_t low = at < 1.0 ? 0 : 1;
  const double part = at - static_cast<double>(low);
  std::string colour = "#";
  for (std::size_t c = 0; c < 3; ++c)
    colour += fmt::format("{:02X}", std::lround(stops[low][c] + part * (stops[low + 1][c] - stops[low][c])));
  return colour;
}

std::string percent_text(double share) { return std::isfinite(share) ? fmt::format("{:.0f}%", 100.0 * share) : "-"; }

/// At most five characters.
std::string short_number(double value) {
  if (!std::isfinite(value)) return "-";
  if (value >= 1e5) return ">1e5";
  return value >= 100.0 ? fmt::format("{:.0f}", value) : number(value, 3);
}

struct HeatCell {
  double share;             ///< 0 .. 1, decides the colour
  std::string text, title;  ///< plain text
};

/// Depths down, lengths across.
std::string heatmap(const NeedleRun& run, const std::string& title,
                    const std::function<HeatCell(std::size_t length, std::size_t depth)>& cell) {
  constexpr double kLeft = 46.0, kWidth = 400.0, kTop = 6.0, kRow = 20.0, kFoot = 40.0, kSmallest = 34.0;
  const std::size_t lengths = run.grid.lengths.size(), depths = run.grid.depths_percent.size();
  const double column = (kWidth - kLeft) / static_cast<double>(lengths);
  const double bottom = kTop + kRow * static_cast<double>(depths);
  std::string out = fmt::format("<svg class=\"chart\" viewBox=\"0 0 {:g} {:g}\" role=\"img\" aria-label=\"{}\">\n",
                                kWidth, bottom + kFoot, escape(title));
  const std::size_t every_depth = (depths + 20) / 21;
  for (std::size_t d = 0; d < depths; ++d) {
    const double y = kTop + kRow * static_cast<double>(d);
    if (d % every_depth == 0) {
      out += fmt::format("<text x=\"{:g}\" y=\"{:g}\" text-anchor=\"end\">{:.3g}%</text>", kLeft - 5.0, y + 14.0,
                         run.grid.depths_percent[d]);
    }
    for (std::size_t l = 0; l < lengths; ++l) {
      const HeatCell shown = cell(l, d);
      const double x = kLeft + column * static_cast<double>(l);
      out += fmt::format(
          "<rect x=\"{:.2f}\" y=\"{:g}\" width=\"{:.2f}\" height=\"{:g}\" fill=\"{}\"><title>{}</title></rect>", x, y,
          column - 1.0, kRow - 1.0, heat(shown.share), escape(shown.title));
      if (column >= kSmallest) {
        out += fmt::format("<text class=\"cell\" x=\"{:.2f}\" y=\"{:g}\" text-anchor=\"middle\">{}</text>",
                           x + (column - 1.0) / 2.0, y + 14.0, escape(shown.text, 8));
      }
    }
    out += "\n";
  }
  const auto every = static_cast<std::size_t>(std::ceil(44.0 / column));
  for (std::size_t l = 0; l < lengths; l += every) {
    out += fmt::format("<text x=\"{:.2f}\" y=\"{:g}\" text-anchor=\"middle\">{}</text>",
                       kLeft + column * (static_cast<double>(l) + 0.5), bottom + 15.0,
                       run.grid.lengths[l] >= 100000 ? fmt::format("{}k", run.grid.lengths[l] / 1000)
                                                     : fmt::format("{}", run.grid.lengths[l]));
  }
  return out + fmt::format("<text x=\"{:g}\" y=\"{:g}\" text-anchor=\"middle\">tokens</text></svg>\n",
                           kLeft + (kWidth - kLeft) / 2.0, bottom + 33.0);
}

std::string rope_colour(const std::string& rope) {
  const std::string name = rope.substr(0, rope.find(':'));
  if (name == "store") return "best";
  if (name == "longrope") return "extra";
  return name == "pi" || name == "ntk" || name == "yarn" || name == "none" ? name : "base";
}

std::string figures_table(const NeedleRun& run, const NeedleTables& tables, std::size_t rope) {
  std::vector<std::vector<std::string>> rows;
  for (std::size_t l = 0; l < run.grid.lengths.size(); ++l) {
    for (std::size_t d = 0; d < run.grid.depths_percent.size(); ++d) {
      const NeedleSummary summary = search::summarise(tables.rows(rope, l, d));
      if (summary.cells == 0) continue;
      const std::string key =
          fmt::format("needle.{}.{}.{}.{}", run.name, rope, run.grid.lengths[l], run.grid.depths_percent[d]);
      const auto [low, high] = summary.accuracy_interval();
      rows.push_back({grouped(run.grid.lengths[l]), fmt::format("{:g}%", run.grid.depths_percent[d]),
                      grouped(summary.cells),
                      figure(key + ".accuracy", summary.accuracy(), percent_text(summary.accuracy())),
                      fmt::format("{} to {}", percent_text(low), percent_text(high)),
                      figure(key + ".needle_ppl", summary.perplexity())});
    }
  }
  return details("Figures", html_table({"tokens", "depth", "trials", "found", "95%", "needle PPL"}, rows, 0));
}

std::string accuracy_card(const NeedleRun& run, const NeedleTables& tables, std::size_t rope) {
  const auto cell = [&](std::size_t l, std::size_t d) -> HeatCell {
    const NeedleSummary summary = search::summarise(tables.rows(rope, l, d));
    const auto [low, high] = summary.accuracy_interval();
    return {
        summary.accuracy(), percent_text(summary.accuracy()),
        fmt::format("{} tokens, depth {:g}%: {} of {} found ({} to {})", run.grid.lengths[l],
                    run.grid.depths_percent[d], summary.exact, summary.trials, percent_text(low), percent_text(high))};
  };
  return chart_card(run.ropes[rope], "Share of needles found, by depth and prompt length.",
                    heatmap(run, "needles found under " + run.ropes[rope], cell), {}, figures_table(run, tables, rope));
}

std::string perplexity_card(const NeedleRun& run, const NeedleTables& tables, std::size_t rope, bool figures) {
  const auto cell = [&](std::size_t l, std::size_t d) -> HeatCell {
    const double ppl = search::summarise(tables.rows(rope, l, d)).perplexity();
    return {1.0 / ppl, short_number(ppl),
            fmt::format("{} tokens, depth {:g}%: needle PPL {}", run.grid.lengths[l], run.grid.depths_percent[d],
                        number(ppl))};
  };
  return chart_card(run.ropes[rope] + ": needle perplexity",
                    "Of the answer&#39;s tokens only, teacher-forced; the colour is their mean probability, 1 / PPL.",
                    heatmap(run, "needle perplexity under " + run.ropes[rope], cell), {},
                    figures ? figures_table(run, tables, rope) : "");
}

std::string depth_card(const NeedleRun& run, const NeedleTables& tables) {
  Plot plot;
  plot.title = "share of needles found against depth";
  plot.x = {"depth of the needle, percent", -2.0, 102.0, false, false, {0.0, 25.0, 50.0, 75.0, 100.0}};
  plot.y = {"share found", -0.03, 1.03, false, false, {0.0, 0.25, 0.5, 0.75, 1.0}};
  std::vector<LegendEntry> legend;
  for (std::size_t r = 0; r < run.ropes.size(); ++r) {
    std::vector<PlotPoint> points, bars;
    std::vector<std::size_t> order(run.grid.depths_percent.size());
    for (std::size_t d = 0; d < order.size(); ++d) order[d] = d;
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return run.grid.depths_percent[a] < run.grid.depths_percent[b]; });
    for (const std::size_t d : order) {
      const NeedleSummary summary = tables.of_depth(r, d);
      const auto [low, high] = summary.accuracy_interval();
      const double depth = run.grid.depths_percent[d];
      points.push_back({depth, summary.accuracy(),
                        fmt::format("{}, depth {:g}%: {} of {} found ({} to {})", run.ropes[r], depth, summary.exact,
                                    summary.trials, percent_text(low), percent_text(high))});
      bars.insert(bars.end(), {{depth, low, ""}, {depth, high, ""}, {kNan, kNan, ""}});
    }
    const std::string css = rope_colour(run.ropes[r]);
    plot.series.push_back({PlotSeries::Kind::line, css, bars});
    plot.series.push_back({PlotSeries::Kind::line, css, points});
    plot.series.push_back({PlotSeries::Kind::dots, css, points});
    legend.push_back({css, escape(run.ropes[r], 60)});
  }
  return chart_card("Lost in the middle?", "All lengths together; upright lines are 95% Wilson intervals.", draw(plot),
                    legend);
}

}  // namespace

std::string needle_section(const NeedleRun& run) {
  const NeedleTables tables(run);
  std::string out = fmt::format(
      "<section><h2>Needles: {}</h2>\n<p class=\"sub\">{} in {}, {} trials a cell, seed {}; {} of {} cells, {}</p>\n"
      "<div class=\"grid\">\n",
      escape(run.name), escape(run.task), escape(run.haystack), run.grid.trials, run.seed,
      grouped(static_cast<long long>(run.rows.size())), grouped(static_cast<long long>(run.cells())),
      escape(run.status, 40));
  constexpr std::size_t kMostCards = 40, kMostGroups = 10000;
  if (run.grid.lengths.size() * run.grid.depths_percent.size() > kMostGroups)
    return out + "<p class=\"sub\">Too many lengths and depths to draw.</p></div></section>\n";
  const bool generated =
      std::any_of(run.rows.begin(), run.rows.end(), [](const search::NeedleRow& row) { return row.exact >= 0; });
  for (std::size_t r = 0; r < std::min(run.ropes.size(), kMostCards); ++r) {
    if (generated) out += accuracy_card(run, tables, r);
    out += perplexity_card(run, tables, r, !generated);
  }
  if (generated && run.grid.depths_percent.size() > 1) out += depth_card(run, tables);
  out += "</div>\n";
  if (run.ropes.size() > kMostCards)
    out += fmt::format("<p class=\"sub\">{} more scalings are not drawn.</p>\n", run.ropes.size() - kMostCards);
  return out + fmt::format("<pre>{}</pre></section>\n", escape(run.command_line, 2000));
}

std::string needle_header(const std::string& file, const std::vector<NeedleRun>& runs) {
  return fmt::format("<header><h1>{}</h1>\n<p class=\"sub\">Needles in haystacks by longrope, {}</p></header>\n",
                     escape(std::filesystem::path(runs.front().model.name).filename().string(), 120),
                     escape(file, 200));
}

}  // namespace longrope::cli
