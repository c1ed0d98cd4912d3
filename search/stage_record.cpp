#include "search/stage_record.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <sstream>

#include "search/nan.hpp"
#include "search/objective.hpp"
#include "search/paired_difference.hpp"

namespace longrope::search {
namespace {}  // namespace

std::vector<std::string> baseline_names(const StoreStage& stage) {
  if (stage.baselines.empty()) return {std::begin(kBaselineNames), std::end(kBaselineNames)};
  std::vector<std::string> names;
  std::istringstream list(stage.baselines);
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  return names;
}

bool is_contender(const StoreRow& row) {
  return row.result.complete() &&
         (row.candidate.generation >= 0 || row.candidate.id < static_cast<std::int64_t>(kBaselineCandidates));
}

StageRecord::StageRecord(std::vector<model::Window> windows, std::size_t objectives)
    : windows_(std::move(windows)), objectives_(objectives) {}

void StageRecord::add(std::span<const StoreRow> rows) {
  for (const StoreRow& added : rows) {
    const std::int64_t id = size();
    cost_ += added.result.cost;
    if (added.candidate.generation >= 0) {
      ++evaluations_;
      strategy_cost_ += added.result.cost;
    }
    rows_.push_back(added);
    if (!is_contender(added)) continue;
    archive_.add(static_cast<std::size_t>(id), added.result.objectives);
    if (best_ < 0 || added.result.first() < first_objective(best_)) best_ = id;
  }
}

double StageRecord::first_objective(std::int64_t id) const { return id < 0 ? kNan : row(id).result.first(); }

std::int64_t StageRecord::best_baseline() const {
  std::int64_t best = -1;
  for (std::int64_t id = 0; id < std::min(size(), static_cast<std::int64_t>(kBaselineCandidates)); ++id) {
    if (!row(id).result.complete()) continue;
    if (best < 0 || first_objective(id) < first_objective(best)) best = id;
  }
  return best;
}

std::int64_t StageRecord::runner_up() const {
  if (best_ < 0) return -1;
  const Candidate& best = row(best_).candidate;
  std::int64_t second = -1;
  for (const StoreRow& r : rows_) {
    const Candidate& candidate = r.candidate;
    if (candidate.generation < 0 || !r.result.complete()) continue;
    if (candidate.factors == best.factors && candidate.start_tokens == best.start_tokens &&
        candidate.attention_factor == best.attention_factor) {
      continue;
    }
    if (second < 0 || r.result.first() < first_objective(second)) second = candidate.id;
  }
  return second;
}

std::vector<StorePoint> StageRecord::frontier() const {
  std::vector<StorePoint> points;
  for (const ParetoArchive::Member& member : archive_.members())
    points.push_back({static_cast<std::int64_t>(member.id), member.objectives});
  return points;
}

double StageRecord::hypervolume() const {
  std::vector<double> reference(objectives_, -std::numeric_limits<double>::infinity());
  for (std::int64_t id = 0; id < std::min(size(), static_cast<std::int64_t>(kBaselineCandidates)); ++id) {
    if (!row(id).result.complete()) continue;
    for (std::size_t k = 0; k < objectives_; ++k)
      reference[k] = std::max(reference[k], std::log(row(id).result.objectives[k]));
  }
  if (!std::isfinite(reference[0])) return kNan;
  std::vector<std::vector<double>> points;
  for (const ParetoArchive::Member& member : archive_.members()) {
    std::vector<double>& point = points.emplace_back();
    for (const double objective : member.objectives) point.push_back(std::log(objective));
  }
  return search::hypervolume(points, reference);
}

Standing StageRecord::standing() const {
  Standing standing;
  standing.cost = strategy_cost_;
  standing.elite_nats = std::log(first_objective(best_));
  standing.bound_nats = kNan;
  if (const std::int64_t baseline = best_baseline(); best_ >= 0 && baseline >= 0) {
    const auto [first, count] = objective_windows(windows_.size(), objectives_, 0);
    const PairedDifference d = paired_difference(std::span(row(best_).result.windows).subspan(first, count),
                                                 std::span(row(baseline).result.windows).subspan(first, count),
                                                 std::span(windows_).subspan(first, count));
    standing.bound_nats = d.nats_per_token + 2.0 * d.standard_error;
  }
  standing.frontier_deficit = objectives_ > 1 ? -hypervolume() : kNan;
  return standing;
}

std::optional<Race> StageRecord::race_before(std::int32_t generation, double confidence) const {
  ParetoArchive archive;
  std::vector<std::vector<WindowScore>> history, elites;
  for (const StoreRow& r : rows_) {
    if (r.candidate.generation >= generation || !is_contender(r)) continue;
    history.push_back(r.result.windows);
    archive.add(static_cast<std::size_t>(r.candidate.id), r.result.objectives);
  }
  for (const ParetoArchive::Member& member : archive.members()) elites.push_back(rows_[member.id].result.windows);
  if (elites.empty()) return std::nullopt;
  return Race(windows_, objectives_, confidence, elites, history);
}

}  // namespace longrope::search
