#include "search/frontier_pick.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "kernels/error.hpp"
#include "search/objective.hpp"
#include "search/pareto.hpp"
#include "search/stage_record.hpp"

namespace longrope::search {
namespace {

struct Limit {
  std::size_t objective = 0;
  double percent = 0.0;
};

[[noreturn]] void refuse(const std::string& rule) {
  throw InputError(fmt::format(
      "[--pick] must be best, knee, mean, short:X% or ppl@N<=X% (X percent above the unscaled model) but got \"{}\"",
      rule));
}

std::optional<double> percent_of(const std::string& text) {
  if (text.size() < 2 || text.back() != '%') return std::nullopt;
  double value = 0.0;
  const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size() - 1, value);
  if (code != std::errc() || stop != text.data() + text.size() - 1 || !(std::isfinite(value) && value >= 0.0))
    return std::nullopt;
  return value;
}

Limit parse_limit(const std::string& rule, const std::vector<Objective>& objectives) {
  const std::size_t colon = rule.find(':'), less = rule.find("<=");
  if (rule.substr(0, colon) == "short" && colon != std::string::npos) {
    const std::optional<double> percent = percent_of(rule.substr(colon + 1));
    if (!percent) refuse(rule);
    const auto shortest = std::min_element(objectives.begin(), objectives.end(),
                                           [](const Objective& a, const Objective& b) { return a.length < b.length; });
    return {static_cast<std::size_t>(shortest - objectives.begin()), *percent};
  }
  if (less == std::string::npos) refuse(rule);
  const std::optional<double> percent = percent_of(rule.substr(less + 2));
  if (!percent) refuse(rule);
  const std::string name = rule.substr(0, less);
  for (std::size_t k = 0; k < objectives.size(); ++k) {
    if (objectives[k].to_string() == name) return {k, *percent};
  }
  throw InputError(fmt::format("[--pick] the stage's objectives are {} but got \"{}\"", to_string(objectives), name));
}

}  // namespace

std::int64_t pick_from_frontier(const StoreContents& contents, const std::string& rule) {
  if (contents.generations.empty() || contents.generations.back().best_id < 0)
    throw InputError("[--pick] the store holds no evaluated table yet (wait for its first generation)");
  const StoreGeneration& last = contents.generations.back();
  if (rule == "best") return last.best_id;
  const std::vector<Objective> objectives =
      parse_objectives(contents.header.stage.objectives, contents.header.stage.target_length);
  std::vector<std::vector<double>> front;
  for (const StorePoint& point : last.frontier) front.push_back(point.objectives);
  if (rule == "knee") {
    return front.empty() ? last.best_id : last.frontier[knee(front)].id;
  }
  if (rule == "mean") {
    std::int64_t best = last.best_id;
    double lowest = std::numeric_limits<double>::infinity();
    for (const StorePoint& point : last.frontier) {
      double sum = 0.0;
      for (const double objective : point.objectives) sum += std::log(objective);
      if (!(sum < lowest)) continue;
      lowest = sum;
      best = point.id;
    }
    return best;
  }
  const Limit limit = parse_limit(rule, objectives);
  if (objectives.size() < 2)
    throw InputError(fmt::format("[--pick] {} needs a search with several objectives but this one had {}", rule,
                                 contents.header.stage.objectives));
  const std::size_t yardstick = kBaselineCandidates;  // none
  if (contents.rows.size() <= yardstick || contents.rows[yardstick].candidate.generation >= 0 ||
      !contents.rows[yardstick].result.complete()) {
    throw InputError("[--pick] the unscaled model's perplexity is not in the store");
  }
  const double original = contents.rows[yardstick].result.objectives[limit.objective];
  const std::optional<std::size_t> found =
      best_within(front, limit.objective, original * (1.0 + limit.percent / 100.0));
  if (found) return last.frontier[*found].id;
  double nearest = front.front()[limit.objective];
  for (const std::vector<double>& point : front) nearest = std::min(nearest, point[limit.objective]);
  throw InputError(
      fmt::format("[--pick] no point of the frontier keeps to {}: the nearest is {:.2f}% above the unscaled "
                  "model's {:.4f}",
                  rule, 100.0 * (nearest / original - 1.0), original));
}

}  // namespace longrope::search
