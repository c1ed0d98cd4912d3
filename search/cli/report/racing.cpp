// Which candidates racing dropped, after how many windows, and what spoke against them; rows that failed; held-out
// text.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "search/cli/report/html.hpp"
#include "search/cli/report/plot.hpp"
#include "search/cli/report/view.hpp"
#include "search/holdout.hpp"

namespace longrope::cli {
namespace {

constexpr std::size_t kMaxListed = 200, kMaxBars = 16;

struct Dropped {
  const search::StoreRow* row;
  std::size_t windows = 0;  ///< of the first objective that were scored
  /// Mean over them of its NLL minus that of the best before its generation, nats per token; NaN: nothing to compare.
  double difference = 0.0;
};

Dropped measure(const StageView& stage, const search::StoreRow& row) {
  Dropped dropped{&row, 0, std::nan("")};
  const search::StoreRow* elite = stage.elite_before(row.candidate.generation);
  double nats = 0.0, tokens = 0.0;
  for (std::size_t w = 0; w < stage.windows(); ++w) {
    const search::WindowScore& score = row.result.windows[w];
    if (!std::isfinite(score.nll_nats)) continue;
    ++dropped.windows;
    if (elite == nullptr) continue;
    nats += score.nll_nats - elite->result.windows[w].nll_nats;
    tokens += static_cast<double>(score.tokens);
  }
  if (tokens > 0.0) dropped.difference = nats / tokens;
  return dropped;
}

std::string dropped_table(const StageView& stage, const std::vector<Dropped>& dropped) {
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < std::min(dropped.size(), kMaxListed); ++i) {
    const Dropped& one = dropped[i];
    const search::StoreRow* elite = stage.elite_before(one.row->candidate.generation);
    rows.push_back(
        {std::to_string(one.row->candidate.id), std::to_string(one.row->candidate.generation),
         search::kOriginNames[static_cast<std::size_t>(one.row->candidate.origin)],
         fmt::format("{} of {}", one.windows, stage.windows()),
         std::isfinite(one.difference) ? fmt::format("{:+.4f}", one.difference) : "-", number(one.row->result.first()),
         elite == nullptr ? "-" : fmt::format("{} (id {})", number(elite->result.first()), elite->candidate.id)});
  }
  std::string out;
  if (dropped.size() > kMaxListed) out += fmt::format("<p>The first {} of {}.</p>", kMaxListed, dropped.size());
  out += html_table(
      {"id", "generation", "origin", "windows", "nats/token worse", "objective, estimated", "best before"}, rows, 3);
  return details("Each of them", out);
}

}  // namespace

std::string racing_charts(const StageView& stage) {
  std::vector<Dropped> dropped;
  double saved = 0.0;
  for (const search::StoreRow& row : stage.rows()) {
    if (row.result.status != search::Status::raced_out) continue;
    dropped.push_back(measure(stage, row));
    if (std::isfinite(row.result.cost)) saved += 1.0 - row.result.cost;
  }
  if (dropped.empty()) return "";
  std::map<std::size_t, std::size_t> after;
  for (const Dropped& one : dropped) ++after[one.windows];
  std::vector<Bar> bars;
  for (const auto& [windows, count] : after) {
    if (bars.size() == kMaxBars) break;
    bars.push_back({fmt::format("after {} of {} windows", windows, stage.windows()),
                    grouped(static_cast<long long>(count)),
                    {{"yarn", static_cast<double>(count)}}});
  }
  Plot plot;
  plot.title = "how much worse dropped candidates were";
  plot.x.label = "candidate";
  plot.y.label = "nats per token above the best";
  PlotSeries dots{PlotSeries::Kind::dots, "yarn", {}, 2.8};
  std::vector<double> ids, sizes;
  for (const std::size_t i : thinned(dropped.size(), kMaxDots)) {
    const Dropped& one = dropped[i];
    if (!std::isfinite(one.difference)) continue;
    dots.points.push_back({static_cast<double>(one.row->candidate.id), one.difference,
                           fmt::format("id {}: {:+.4f} nats/token on {} of {} windows", one.row->candidate.id,
                                       one.difference, one.windows, stage.windows())});
    ids.push_back(static_cast<double>(one.row->candidate.id));
    sizes.push_back(one.difference);
  }
  plot.y.logarithmic = !sizes.empty() && *std::min_element(sizes.begin(), sizes.end()) > 0.0;
  ids.push_back(0.0);
  frame(plot.x, ids, 0.03);
  frame(plot.y, sizes);
  plot.series.push_back(std::move(dots));
  const std::string count = figure(key_of(stage, "raced_out"), static_cast<double>(dropped.size()),
                                   grouped(static_cast<long long>(dropped.size())));
  return chart_card("Dropped by racing",
                    fmt::format("{} of {} candidates were given up before all windows were scored, because their "
                                "differences to the best on the same windows said that they are worse. That saved {} "
                                "full evaluations.",
                                count, grouped(stage.evaluations()), figure(key_of(stage, "racing.saved"), saved, 4)),
                    draw_bars("dropped after how many windows", bars), {}) +
         chart_card(
             "Why they were dropped",
             "Mean difference to the best table before their generation, on the windows that both were scored on.",
             draw(plot), {{"yarn", "dropped candidates", true}}, dropped_table(stage, dropped));
}

std::string failures_card(const StageView& stage) {
  std::map<std::string, std::size_t> reasons;
  std::size_t count = 0;
  for (const search::StoreRow& row : stage.rows()) {
    if (row.result.status != search::Status::non_finite && row.result.status != search::Status::failed) continue;
    ++count;
    const char* status = search::kStatusNames[static_cast<std::size_t>(row.result.status)];
    if (reasons.size() < 20) ++reasons[fmt::format("{}: {}", status, row.result.reason)];
  }
  if (count == 0) return "";
  std::vector<std::vector<std::string>> rows;
  for (const auto& [reason, times] : reasons) rows.push_back({escape(reason), std::to_string(times)});
  return fmt::format("<div class=\"card\"><h3>Candidates without a score: {}</h3>{}</div>\n", count,
                     html_table({"reason", "candidates"}, rows));
}

std::string holdout_card(const StageView& stage) {
  const auto report = search::stored_holdout(*stage.contents);
  if (!report) return "";
  std::vector<std::vector<std::string>> rows;
  for (const search::StoreHoldoutRow& row : report->rows) {
    std::vector<std::string> cells{escape(shown_name(row.name), 60)};
    for (std::size_t k = 0; k < row.result.objectives.size(); ++k) {
      cells.push_back(figure(key_of(stage, fmt::format("holdout.{}.{}", row.name, k)), row.result.objectives[k]));
    }
    rows.push_back(std::move(cells));
  }
  std::vector<std::string> head{"table"};
  for (const search::Objective& objective : stage.objectives) head.push_back(objective.to_string());
  return fmt::format("<div class=\"card\"><h3>On text that the search did not see</h3><p>{}</p>{}</div>\n",
                     escape(report->verdict, 2000), html_table(head, rows));
}

}  // namespace longrope::cli
