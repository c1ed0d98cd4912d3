#include "search/holdout.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <set>

#include "kernels/error.hpp"
#include "search/objective.hpp"

namespace longrope::search {
namespace {

constexpr double kConfidence = 0.95;  // two-sided

HoldoutDifference compare(const StoreHoldoutRow& best, const StoreHoldoutRow& other,
                          std::span<const model::Window> windows) {
  HoldoutDifference d;
  d.to = other.name;
  d.difference = paired_difference(std::span(best.result.windows).first(windows.size()),
                                   std::span(other.result.windows).first(windows.size()), windows);
  if (d.difference.clusters >= 2) {
    const boost::math::students_t t(static_cast<double>(d.difference.clusters - 1));
    const double quantile = boost::math::quantile(t, 0.5 + kConfidence / 2.0);
    // A difference without any scatter (a table against its equal) is no difference.
    d.significant = std::abs(d.difference.nats_per_token) > quantile * d.difference.standard_error;
  }
  return d;
}

/// "2.93% (0.0297 +- 0.0041 nats per token, 6 documents)"
std::string describe(double gain, const PairedDifference& difference) {
  std::string text = fmt::format("{:.2f}% ({:.4f}", 100.0 * std::abs(gain), std::abs(difference.nats_per_token));
  if (std::isfinite(difference.standard_error)) text += fmt::format(" +- {:.4f}", difference.standard_error);
  return text + fmt::format(" nats per token, {} independent piece{} of text)", difference.clusters,
                            difference.clusters == 1 ? "" : "s");
}

std::string verdict_of(const HoldoutReport& report) {
  if (!report.to_baseline) return "No verdict: the best table or every baseline failed on the held-out text.";
  const HoldoutDifference& d = *report.to_baseline;
  const std::string how_much = describe(report.holdout_gain, d.difference);
  const bool better = d.difference.nats_per_token < 0.0;
  std::string text;
  if (report.search_gain <= 0.0 && d.difference.nats_per_token == 0.0) {
    return fmt::format("The search found nothing better than {}.", d.to);
  }
  if (d.difference.clusters < 2) {
    text = fmt::format(
        "On unseen text the best table is {} than {} by {}; from one piece nobody can say whether this is "
        "significant.",
        better ? "better" : "worse", d.to, how_much);
  } else if (better) {
    text = fmt::format("The gain over {} on unseen text, {}, is {} at 95%.", d.to, how_much,
                       d.significant ? "significant" : "NOT significant");
  } else {
    text = fmt::format("On unseen text the best table is {}worse than {}, by {}.",
                       d.significant ? "significantly " : "", d.to, how_much);
  }
  text += fmt::format(" On the search's own windows the gain was {:.2f}%", 100.0 * report.search_gain);
  if (report.search_gain > 0.0) {
    text += better ? fmt::format(", of which {:.0f}% holds", 100.0 * report.holdout_gain / report.search_gain)
                   : ", none of which holds";
    if (report.overfitted) text += ": the search overfitted its windows";
  }
  text += ".";
  if (report.to_runner_up) {
    const PairedDifference& r = report.to_runner_up->difference;
    text += fmt::format(" Against the runner-up: {:+.4f}", r.nats_per_token);
    if (std::isfinite(r.standard_error)) text += fmt::format(" +- {:.4f}", r.standard_error);
    text += report.to_runner_up->significant ? " nats per token." : " nats per token, no significant difference.";
  }
  return text;
}

}  // namespace

void require_new_text(const model::Corpus& search, const ObjectiveWindows& search_windows, const model::Corpus& holdout,
                      const ObjectiveWindows& holdout_windows) {
  for (const model::Document& held : holdout.documents) {
    for (const model::Document& seen : search.documents) {
      if (held.tokens == seen.tokens) {
        throw InputError(fmt::format("[--holdout-text] must be text the search does not see but {} is the same as {}",
                                     held.name, seen.name));
      }
    }
  }
  const std::set<std::vector<std::int32_t>> seen(search_windows.tokens.begin(), search_windows.tokens.end());
  for (std::size_t w = 0; w < holdout_windows.windows.size(); ++w) {
    if (!seen.contains(holdout_windows.tokens[w])) continue;
    const model::Window& window = holdout_windows.windows[w];
    if (holdout_windows.needle_first[w] >= 0) {
      throw InputError(
          "[--holdout-text] must be text the search does not see but a needle in its haystack is a window of the "
          "search "
          "(--haystack text, or a task with keys)");
    }
    throw InputError(fmt::format(
        "[--holdout-text] must be text the search does not see but tokens {} to {} of {} are a window of the search",
        window.first_token, window.first_token + window.length - 1,
        holdout.documents[static_cast<std::size_t>(window.document)].name));
  }
}

HoldoutReport judge_holdout(std::vector<StoreHoldoutRow> rows, std::span<const model::Window> all_windows,
                            std::span<const double> search_values) {
  HoldoutReport report;
  report.rows = std::move(rows);
  report.search_gain = report.holdout_gain = std::numeric_limits<double>::quiet_NaN();
  const StoreHoldoutRow& best = report.rows.front();
  const std::size_t objectives = best.result.objectives.size();
  const WindowRange range = objective_windows(all_windows.size(), objectives, 0);
  const std::span<const model::Window> windows = all_windows.subspan(range.first, range.count);
  std::size_t baseline = 0;
  for (std::size_t i = 1; i < report.rows.size(); ++i) {
    const StoreHoldoutRow& row = report.rows[i];
    if (!std::isfinite(row.result.first()) || !std::isfinite(best.result.first())) continue;
    if (row.name == "runner_up") {
      report.to_runner_up = compare(best, row, windows);
    } else if (baseline == 0 || row.result.first() < report.rows[baseline].result.first()) {
      baseline = i;
    }
  }
  if (baseline != 0) {
    report.to_baseline = compare(best, report.rows[baseline], windows);
    report.search_gain = 1.0 - search_values[0] / search_values[baseline];
    report.holdout_gain = 1.0 - best.result.first() / report.rows[baseline].result.first();
    report.overfitted = report.search_gain > 0.0 && report.holdout_gain < 0.5 * report.search_gain;
  }
  report.verdict = verdict_of(report);
  return report;
}

std::optional<HoldoutReport> stored_holdout(const StoreContents& contents) {
  const std::optional<StoreHoldout>& holdout = contents.header.holdout;
  if (!holdout || holdout->rows.empty()) return std::nullopt;
  std::vector<model::Window> windows;
  for (std::size_t w = 0; w < holdout->corpus.window_length.size(); ++w) {
    model::Window window;
    window.document = holdout->corpus.window_document[w];
    window.first_token = holdout->corpus.window_first_token[w];
    window.length = holdout->corpus.window_length[w];
    windows.push_back(window);
  }
  std::vector<double> search_values;
  for (const StoreHoldoutRow& row : holdout->rows) {
    const bool known = row.id >= 0 && row.id < static_cast<std::int64_t>(contents.rows.size());
    search_values.push_back(known ? contents.rows[static_cast<std::size_t>(row.id)].result.first()
                                  : std::numeric_limits<double>::quiet_NaN());
  }
  return judge_holdout(holdout->rows, windows, search_values);
}

}  // namespace longrope::search
