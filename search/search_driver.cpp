#include "search/search_driver.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "model/scaling_methods.hpp"
#include "search/ordering.hpp"

namespace longrope::search {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// The mutable state of one run of a stage.
class Stage {
 public:
  Stage(const model::Transformer& transformer, const PerplexityEvaluator& evaluator, const StageOptions& options)
      : transformer_(transformer),
        evaluator_(evaluator),
        options_(options),
        strategy_(make_strategy(
            options.strategy, options.space,
            {options.header.seed, static_cast<std::uint32_t>(options.header.stage.index), options.budget, 1})),
        writer_(open_store()) {
    earlier_evaluations_ = evaluations();
  }

  StageResult run() {
    bool interrupted = false;
    try {
      if (generations_.empty()) score_baselines();
      while (run_generation()) {
      }
    } catch (const Interrupted&) {
      interrupted = true;
    }
    writer_.finish(interrupted ? "interrupted" : "done", tables());
    return result(interrupted);
  }

 private:
  StoreWriter open_store() {
    std::error_code error;
    if (!options_.resume || !std::filesystem::exists(options_.store, error)) {
      return StoreWriter::create(options_.store, options_.header);
    }
    StoreContents contents;
    StoreWriter writer = StoreWriter::resume(options_.store, options_.header, contents);
    rows_ = std::move(contents.rows);
    generations_ = std::move(contents.generations);
    if (!generations_.empty()) earlier_s_ = generations_.back().elapsed_s;
    if (generations_.size() > 1) {
      std::vector<Candidate> candidates;
      std::vector<Outcome> outcomes;
      for (const StoreRow& row : rows_) {
        if (row.candidate.generation < 0) continue;
        candidates.push_back(row.candidate);
        outcomes.emplace_back(row.result.objective);
      }
      strategy_->load(contents.states.back(), candidates, outcomes);
    }
    return writer;
  }

  std::int64_t evaluations() const {
    return std::count_if(rows_.begin(), rows_.end(), [](const StoreRow& row) { return row.candidate.generation >= 0; });
  }

  /// Index of the best row; -1 when none is finite.
  std::int64_t best_row() const {
    std::int64_t best = -1;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (std::isnan(rows_[i].result.objective)) continue;
      if (best < 0 ||
          less_nan_last(rows_[i].result.objective, rows_[static_cast<std::size_t>(best)].result.objective)) {
        best = static_cast<std::int64_t>(i);
      }
    }
    return best;
  }

  double elapsed_s() const { return earlier_s_ + std::chrono::duration<double>(Clock::now() - started_).count(); }

  StageProgress progress(std::int64_t finished_tasks) const {
    StageProgress p;
    p.generation = generations_.empty() ? -1 : generations_.back().generation + 1;
    p.budget = options_.budget;
    const bool baselines = generations_.empty();
    const double in_flight = static_cast<double>(finished_tasks) / static_cast<double>(evaluator_.windows().size());
    const std::int64_t stored = evaluations();
    p.evaluations = stored + (baselines ? 0 : static_cast<std::int64_t>(in_flight));
    const std::int64_t best = best_row();
    p.best_ppl = best < 0 ? kNan : rows_[static_cast<std::size_t>(best)].result.objective;
    p.baseline_ppl = kNan;
    for (const StoreRow& row : rows_) {
      if (row.candidate.generation < 0 && less_nan_last(row.result.objective, p.baseline_ppl)) {
        p.baseline_ppl = row.result.objective;
      }
    }
    const double run_s = std::chrono::duration<double>(Clock::now() - started_).count();
    const double done =
        static_cast<double>(stored - earlier_evaluations_) + (scored_baselines_ ? 3.0 : 0.0) + in_flight;
    if (run_s > 0.0 && done > 0.0) p.evaluations_per_s = done / run_s;
    const double left = static_cast<double>(options_.budget - stored) - (baselines ? -3.0 : 0.0) - in_flight;
    p.remaining_s = p.evaluations_per_s > 0.0 ? std::max(0.0, left) / p.evaluations_per_s : kNan;
    return p;
  }

  std::vector<EvalResult> score(std::span<const model::RopeTable> tables) {
    std::atomic<std::int64_t> finished{0};
    const auto on_task = [&] {
      const std::int64_t count = ++finished;
      if (options_.on_task) options_.on_task(progress(count));
    };
    return evaluator_.evaluate(tables, on_task, options_.stop);
  }

  void append(std::vector<StoreRow> rows, std::int32_t generation, const std::string& state) {
    rows_.insert(rows_.end(), rows.begin(), rows.end());
    StoreGeneration g;
    g.generation = generation;
    const std::int64_t best = best_row();
    g.best_id = best < 0 ? -1 : rows_[static_cast<std::size_t>(best)].candidate.id;
    g.best_objective = best < 0 ? kNan : rows_[static_cast<std::size_t>(best)].result.objective;
    g.evaluations = static_cast<std::int64_t>(rows_.size());
    for (const StoreRow& row : rows_) g.cost += row.result.cost;
    g.elapsed_s = elapsed_s();
    writer_.append(rows, g, state);
    generations_.push_back(g);
    if (options_.on_generation) options_.on_generation(progress(0));
  }

  void score_baselines() {
    std::vector<model::RopeTable> tables;
    for (const char* name : kBaselineNames) {
      tables.push_back(model::make_rope_table(model::RopeSpec::parse(name), transformer_.config(),
                                              options_.header.stage.target_length));
    }
    const std::vector<EvalResult> results = score(tables);
    std::vector<StoreRow> rows;
    for (std::size_t i = 0; i < tables.size(); ++i) {
      Candidate candidate;
      candidate.id = static_cast<std::int64_t>(i);
      candidate.origin = Origin::baseline;
      candidate.factors = tables[i].factors;
      candidate.attention_factor = tables[i].attention_factor;
      rows.push_back({candidate, results[i]});
    }
    scored_baselines_ = true;
    append(std::move(rows), -1, "");
  }

  /// False when the budget is spent or the strategy has ended.
  bool run_generation() {
    const std::int64_t limit = options_.budget - evaluations();
    if (limit <= 0) return false;
    const std::vector<Candidate> candidates = strategy_->ask(static_cast<std::int64_t>(rows_.size()), limit);
    if (candidates.empty()) return false;
    std::vector<model::RopeTable> tables;
    for (const Candidate& candidate : candidates) {
      tables.push_back(model::RopeTable::from_factors(options_.space.geometry, candidate.factors,
                                                      candidate.attention_factor, candidate.start_tokens));
    }
    const std::vector<EvalResult> results = score(tables);
    std::vector<Outcome> outcomes;
    std::vector<StoreRow> rows;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      outcomes.emplace_back(results[i].objective);
      rows.push_back({candidates[i], results[i]});
    }
    strategy_->tell(candidates, outcomes);
    append(std::move(rows), candidates.front().generation, strategy_->save());
    return true;
  }

  std::vector<StoreTable> tables() const {
    const std::int64_t best = best_row();
    if (best < 0) return {};
    const Candidate& candidate = rows_[static_cast<std::size_t>(best)].candidate;
    StoreTable table;
    table.name = options_.header.stage.name;
    table.long_factors = candidate.factors;
    table.short_factors = candidate.factors;
    table.attention_factor = candidate.attention_factor;
    table.target_length = options_.header.stage.target_length;
    table.original_length = options_.space.geometry.original_length;
    return {table};
  }

  StageResult result(bool interrupted) const {
    StageResult r;
    r.interrupted = interrupted;
    const std::int64_t best = best_row();
    if (best >= 0) r.best = rows_[static_cast<std::size_t>(best)];
    for (const StoreRow& row : rows_) {
      if (row.candidate.generation < 0) r.baselines.push_back(row);
    }
    r.evaluations = evaluations();
    if (!generations_.empty()) {
      r.cost_full_evaluations = generations_.back().cost;
      r.elapsed_s = generations_.back().elapsed_s;
    }
    return r;
  }

  const model::Transformer& transformer_;
  const PerplexityEvaluator& evaluator_;
  const StageOptions& options_;
  const Clock::time_point started_ = Clock::now();
  double earlier_s_ = 0.0;  ///< seconds of earlier runs of this job
  bool scored_baselines_ = false;
  std::vector<StoreRow> rows_;
  std::vector<StoreGeneration> generations_;
  std::unique_ptr<Strategy> strategy_;
  StoreWriter writer_;
  std::int64_t earlier_evaluations_ = 0;
};

}  // namespace

Space make_space(const model::ModelConfig& config, std::int64_t target_length) {
  Space space;
  space.geometry = config.rope;
  space.scale = std::max(1.0, static_cast<double>(target_length) / static_cast<double>(config.rope.original_length));
  space.attention_factor = model::longrope_attention_factor(space.scale, config.rope.original_length);
  space.pi_factors = model::pi_factors(config.rope, space.scale);
  space.ntk_factors = model::ntk_factors(config.rope, space.scale);
  space.yarn_factors = model::yarn_factors(config.rope, space.scale);
  if (config.model_type == "mistral") {  // what microsoft/LongRoPE's search.py does for this model type
    space.release_beta_fast = 128.0;
    space.release_beta_slow = 2.0;
  }
  return space;
}

StageResult run_stage(const model::Transformer& transformer, const PerplexityEvaluator& evaluator,
                      const StageOptions& options) {
  return Stage(transformer, evaluator, options).run();
}

}  // namespace longrope::search
