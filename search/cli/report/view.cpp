#include "search/cli/report/view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "search/cli/report/html.hpp"
#include "search/space.hpp"
#include "search/stage_record.hpp"

namespace longrope::cli {
namespace {

using search::StoreContents;
using search::StoreRow;
using search::StoreTable;

/// The row whose factors are the table's (its short ones after a repair): the best where that fits, else the first.
const StoreRow* row_of_table(const StageView& view) {
  if (view.table == nullptr) return view.best;
  const std::vector<double>& factors = view.table->has_short() ? view.table->short_factors : view.table->long_factors;
  const double attention_factor =
      view.table->has_short() ? view.table->short_attention_factor : view.table->attention_factor;
  const auto fits = [&](const StoreRow& row) {
    return row.result.complete() && row.candidate.factors == factors &&
           row.candidate.attention_factor == attention_factor;
  };
  if (view.best != nullptr && fits(*view.best)) return view.best;
  const auto found = std::find_if(view.rows().begin(), view.rows().end(), fits);
  return found == view.rows().end() ? view.best : &*found;
}

StageView view_stage(const StoreContents& contents, const std::vector<StoreTable>& tables) {
  StageView view;
  view.contents = &contents;
  view.objectives = search::parse_objectives(contents.header.stage.objectives, contents.header.stage.target_length);
  const auto pairs = static_cast<std::size_t>(contents.header.model.rotary_dim / 2);
  for (const StoreTable& table : tables) {
    if (table.name == contents.header.stage.name && table.long_factors.size() == pairs) view.table = &table;
  }
  if (!contents.generations.empty() && contents.generations.back().best_id >= 0)
    view.best = &contents.rows[static_cast<std::size_t>(contents.generations.back().best_id)];
  const std::vector<std::string> names = search::baseline_names(contents.header.stage);
  for (std::size_t i = 0; i < names.size() && i < contents.rows.size(); ++i) {
    if (contents.rows[i].candidate.generation < 0) view.baselines.push_back({names[i], &contents.rows[i]});
  }
  view.chosen = row_of_table(view);
  return view;
}

}  // namespace

std::int64_t StageView::evaluations() const {
  return std::count_if(rows().begin(), rows().end(), [](const StoreRow& row) { return row.candidate.generation >= 0; });
}

double StageView::cost() const { return contents->generations.empty() ? 0.0 : contents->generations.back().cost; }

double StageView::elapsed_s() const {
  return contents->generations.empty() ? 0.0 : contents->generations.back().elapsed_s;
}

std::size_t StageView::windows() const { return header().corpus.window_length.size() / objectives.size(); }

const StageView::Baseline* StageView::best_baseline() const {
  const Baseline* found = nullptr;
  for (const Baseline& baseline : baselines) {
    if (!search::is_contender(*baseline.row) || !std::isfinite(baseline.row->result.first())) continue;
    if (found == nullptr || baseline.row->result.first() < found->row->result.first()) found = &baseline;
  }
  return found;
}

const StoreRow* StageView::elite_before(std::int32_t generation) const {
  const StoreRow* elite = nullptr;
  for (const search::StoreGeneration& g : contents->generations) {
    if (g.generation >= generation) break;
    if (g.best_id >= 0) elite = &rows()[static_cast<std::size_t>(g.best_id)];
  }
  return elite;
}

std::vector<StageView> view_stages(const std::vector<StoreContents>& stages, const std::vector<StoreTable>& tables) {
  std::vector<StageView> views;
  for (const StoreContents& contents : stages) views.push_back(view_stage(contents, tables));
  return views;
}

std::string colour_of(const std::string& name) {
  for (const char* known : {"best", "yarn", "ntk", "pi", "none", "base"}) {
    if (name == known) return known;
  }
  if (name == "repaired") return "best";
  if (name == "long") return "base";
  if (name == "original") return "none";
  if (name == "identity") return "yarn";
  if (name == "plain") return "pi";
  if (name == "half") return "ntk";
  return "extra";
}

std::string shown_measure(const search::Objective& objective) {
  switch (objective.kind) {
    case search::Objective::Kind::perplexity:
      return "perplexity";
    case search::Objective::Kind::key_perplexity:
      return "key-token perplexity";
    case search::Objective::Kind::needle:
      return "needle perplexity";
  }
  return "";
}

std::string shown_name(const std::string& name) {
  if (name == "pi") return "PI";
  if (name == "ntk") return "NTK";
  if (name == "yarn") return "YaRN";
  if (name == "none") return "no rescaling";
  return name;
}

std::string describe(const StoreRow& row) {
  return fmt::format("{} (id {}, generation {}, {})", number(row.result.first(), 6), row.candidate.id,
                     row.candidate.generation, search::kOriginNames[static_cast<std::size_t>(row.candidate.origin)]);
}

std::string percent(double ratio) {
  const double value = 100.0 * (ratio - 1.0);
  if (!std::isfinite(value)) return "-";
  const char* sign = value < 0.0 ? "\xE2\x88\x92" : "+";  // a minus sign, not a hyphen
  if (std::abs(value) >= 1e5) return fmt::format("{}{:.1e}%", sign, std::abs(value));
  return fmt::format("{}{:.{}f}%", sign, std::abs(value), std::abs(value) < 9.95 ? 2 : 1);
}

std::string key_of(const StageView& stage, const std::string& what) { return stage.name() + "." + what; }

std::optional<std::int64_t> critical_pair(const search::StoreModel& model) {
  if (!(model.theta > 1.0)) return std::nullopt;
  search::Space space;
  space.geometry = {model.rotary_dim, model.theta, model.original_length};
  return space.critical_pair_of(1.0);
}

std::vector<std::size_t> thinned(std::size_t count, std::size_t limit) {
  const std::size_t step = std::max<std::size_t>(1, (count + limit - 1) / limit);
  std::vector<std::size_t> positions;
  for (std::size_t i = 0; i < count; i += step) positions.push_back(i);
  return positions;
}

}  // namespace longrope::cli
