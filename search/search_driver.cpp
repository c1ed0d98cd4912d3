#include "search/search_driver.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/frontier_pick.hpp"
#include "search/nan.hpp"
#include "search/patience.hpp"
#include "search/racing_round.hpp"
#include "search/stage_record.hpp"

namespace longrope::search {
namespace {

using Clock = std::chrono::steady_clock;

bool holds_stage(const std::filesystem::path& store, const std::string& name) {
  const std::vector<StoreContents> stages = read_stages(store);
  return std::any_of(stages.begin(), stages.end(),
                     [&](const StoreContents& stage) { return stage.header.stage.name == name; });
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The mutable state of one run of a stage.
class Stage {
 public:
  Stage(const model::ModelConfig& config, const Evaluator& evaluator, const StageOptions& options)
      : config_(config),
        evaluator_(evaluator),
        options_(options),
        objectives_(options.objectives.size()),
        record_(evaluator.windows(), objectives_),
        patience_(options.patience),
        strategy_(make_strategy(options.strategy, options.space,
                                {options.header.seed, static_cast<std::uint32_t>(options.header.stage.index),
                                 options.budget, objectives_})),
        writer_(open_store()) {
    earlier_cost_ = record_.strategy_cost();
  }

  StageResult run() {
    StopReason reason = StopReason::interrupted;
    std::optional<HoldoutReport> holdout;
    try {
      if (generations_.empty()) score_baselines();
      std::optional<StopReason> ended;
      while (!ended) ended = next();
      if (options_.holdout != nullptr) holdout = score_holdout();
      reason = *ended;
    } catch (const Interrupted&) {
      reason = StopReason::interrupted;
    }
    const bool interrupted = reason == StopReason::interrupted;
    StoreEnding ending;
    ending.stop_reason = kStopReasonNames[static_cast<std::size_t>(reason)];
    if (holdout) {
      ending.holdout_rows = holdout->rows;
      ending.holdout_verdict = holdout->verdict;
    }
    writer_.finish(interrupted ? "interrupted" : "done", tables(), ending);
    StageResult r = result(reason);
    r.holdout = std::move(holdout);
    return r;
  }

 private:
  StoreWriter open_store() {
    std::error_code error;
    const bool exists = std::filesystem::exists(options_.store, error);
    if (exists && options_.other_stages && !holds_stage(options_.store, options_.header.stage.name))
      return StoreWriter::add_stage(options_.store, options_.header);
    if (!exists || !options_.resume) return StoreWriter::create(options_.store, options_.header);
    StoreContents contents;
    StoreWriter writer = StoreWriter::resume(options_.store, options_.header, contents);
    for (const StoreGeneration& generation : contents.generations) {
      const auto first = static_cast<std::size_t>(record_.size()),
                 end = static_cast<std::size_t>(generation.evaluations);
      record_.add(std::span(contents.rows).subspan(first, end - first));
      out_of_patience_ = patience_.exhausted(record_.standing());
    }
    generations_ = std::move(contents.generations);
    if (!generations_.empty()) earlier_s_ = generations_.back().elapsed_s;
    if (generations_.size() > 1) {
      std::vector<Candidate> candidates;
      std::vector<Outcome> outcomes;
      for (const StoreRow& row : record_.rows()) {
        if (row.candidate.generation < 0) continue;
        candidates.push_back(row.candidate);
        outcomes.push_back(outcome_of(row.result));
      }
      strategy_->load(contents.states.back(), candidates, outcomes);
    }
    return writer;
  }

  static Outcome outcome_of(const EvalResult& result) {
    Outcome outcome;
    outcome.objectives = result.objectives;
    outcome.raced_out = result.status == Status::raced_out;
    return outcome;
  }

  double elapsed_s() const { return earlier_s_ + seconds_since(started_); }

  StageProgress progress(double cost_in_flight) const {
    StageProgress p;
    const bool baselines = generations_.empty();
    p.generation = baselines ? -1 : generations_.back().generation + 1;
    p.budget = static_cast<double>(options_.budget);
    p.evaluations = record_.evaluations();
    p.cost = record_.strategy_cost() + (baselines ? 0.0 : cost_in_flight);
    p.label = options_.objectives.front().label();
    p.best = record_.first_objective(record_.best());
    p.baseline = record_.first_objective(record_.best_baseline());
    const double run_s = seconds_since(started_);
    const double done = record_.strategy_cost() - earlier_cost_ + scored_baselines_ + cost_in_flight;
    if (run_s > 0.0 && done > 0.0) p.cost_per_s = done / run_s;
    const double left = p.budget - p.cost + (baselines ? 3.0 - cost_in_flight : 0.0);
    p.remaining_s = p.cost_per_s > 0.0 ? std::max(0.0, left) / p.cost_per_s : kNan;
    return p;
  }

  /// Calls evaluate(on_task) with what reports progress.
  template <typename Evaluate>
  auto with_progress(Evaluate evaluate) {
    std::atomic<std::int64_t> finished{0};
    const std::function<void()> on_task = [&] {
      const std::int64_t count = ++finished;
      const double windows = static_cast<double>(evaluator_.windows().size());
      if (options_.on_task) options_.on_task(progress(static_cast<double>(count) / windows));
    };
    return evaluate(on_task);
  }

  void append(std::vector<StoreRow> rows, std::int32_t generation, const std::string& state) {
    record_.add(rows);
    StoreGeneration g;
    g.generation = generation;
    g.best_id = record_.best();
    g.best_objective = record_.first_objective(g.best_id);
    g.evaluations = record_.size();
    g.cost = record_.cost();
    g.elapsed_s = elapsed_s();
    g.hypervolume = record_.hypervolume();
    g.frontier = record_.frontier();
    writer_.append(rows, g, state);
    generations_.push_back(g);
    out_of_patience_ = patience_.exhausted(record_.standing());
    if (options_.on_generation) options_.on_generation(progress(0.0));
  }

  void score_baselines() {
    const std::size_t count = kBaselineCandidates + (objectives_ > 1 ? 1 : 0);
    std::vector<model::RopeTable> tables;
    for (const BaselineTable& baseline : options_.baselines) tables.push_back(baseline.table);
    for (std::size_t i = tables.size(); i < count && options_.baselines.empty(); ++i) {
      tables.push_back(model::make_rope_table(model::RopeSpec::parse(kBaselineNames[i]), config_,
                                              options_.header.stage.target_length));
    }
    if (tables.size() != count) throw std::logic_error("run_stage: the number of baselines does not fit");
    const std::vector<EvalResult> results = with_progress([&](const std::function<void()>& on_task) {
      return evaluate_all(evaluator_, tables, objectives_, on_task, options_.stop);
    });
    std::vector<StoreRow> rows;
    for (std::size_t i = 0; i < tables.size(); ++i) {
      Candidate candidate;
      candidate.id = static_cast<std::int64_t>(i);
      candidate.origin = Origin::baseline;
      candidate.factors = tables[i].factors;
      candidate.attention_factor = tables[i].attention_factor;
      candidate.start_tokens = static_cast<std::int32_t>(tables[i].start_tokens);
      rows.push_back({candidate, results[i]});
    }
    scored_baselines_ = static_cast<double>(rows.size());
    append(std::move(rows), -1, "");
  }

  /// Runs one generation, or what the budget leaves of it; why there is none to run.
  std::optional<StopReason> next() {
    if (out_of_patience_) return StopReason::patience;
    // No candidate costs more than one: what is left over at the end is less than that.
    const auto limit =
        static_cast<std::int64_t>(std::floor(static_cast<double>(options_.budget) - record_.strategy_cost() + 1e-9));
    if (limit <= 0) return StopReason::budget;
    Clock::time_point started = Clock::now();
    const std::vector<Candidate> candidates = strategy_->ask(record_.size(), limit);
    strategy_s_ += seconds_since(started);
    if (candidates.empty()) return StopReason::strategy_ended;
    std::vector<model::RopeTable> tables;
    for (const Candidate& candidate : candidates) {
      tables.push_back(model::RopeTable::from_factors(options_.space.geometry, candidate.factors,
                                                      candidate.attention_factor, candidate.start_tokens));
    }
    std::optional<Race> race;
    if (options_.racing) race = record_.race_before(candidates.front().generation, *options_.racing);
    const std::vector<EvalResult> results = with_progress([&](const std::function<void()>& on_task) {
      return race ? evaluate_racing(evaluator_, tables, objectives_, *race, on_task, options_.stop)
                  : evaluate_all(evaluator_, tables, objectives_, on_task, options_.stop);
    });
    std::vector<Outcome> outcomes;
    std::vector<StoreRow> rows;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      outcomes.push_back(outcome_of(results[i]));
      rows.push_back({candidates[i], results[i]});
    }
    started = Clock::now();
    strategy_->tell(candidates, outcomes);
    const std::string state = strategy_->save();
    strategy_s_ += seconds_since(started);
    append(std::move(rows), candidates.front().generation, state);
    return std::nullopt;
  }

  std::optional<HoldoutReport> score_holdout() const {
    if (record_.best() < 0) return std::nullopt;
    std::vector<StoreHoldoutRow> rows{{"best", record_.best(), {}}};
    if (const std::int64_t second = record_.runner_up(); second >= 0) rows.push_back({"runner_up", second, {}});
    const std::vector<std::string> names = baseline_names(options_.header.stage);
    for (std::size_t i = 0; i < kBaselineCandidates; ++i) rows.push_back({names[i], static_cast<std::int64_t>(i), {}});
    std::vector<model::RopeTable> tables;
    std::vector<double> search_values;
    for (const StoreHoldoutRow& row : rows) {
      const Candidate& candidate = record_.row(row.id).candidate;
      tables.push_back(model::RopeTable::from_factors(options_.space.geometry, candidate.factors,
                                                      candidate.attention_factor, candidate.start_tokens));
      search_values.push_back(record_.first_objective(row.id));
    }
    const std::vector<EvalResult> results = evaluate_all(*options_.holdout, tables, objectives_, {}, options_.stop);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].result = results[i];
    return judge_holdout(std::move(rows), options_.holdout->windows(), search_values);
  }

  /// The candidate that the options pick; -1: none.
  std::int64_t chosen() const {
    if (record_.best() < 0 || generations_.empty()) return -1;
    StoreContents contents;
    contents.header = options_.header;
    contents.rows = record_.rows();
    contents.generations = generations_;
    try {
      return pick_from_frontier(contents, options_.pick);
    } catch (const InputError&) {  // no point keeps to the rule: said by whoever asks for the table
      return -1;
    }
  }

  std::vector<StoreTable> tables() const {
    const std::int64_t id = chosen();
    if (id < 0) return {};
    const Candidate& candidate = record_.row(id).candidate;
    StoreTable table;
    table.name = options_.header.stage.name;
    table.long_factors = candidate.factors;
    table.attention_factor = candidate.attention_factor;
    table.target_length = options_.header.stage.target_length;
    table.start_tokens = candidate.start_tokens;
    if (options_.long_table) {
      table = *options_.long_table;
      table.name = options_.header.stage.name;
      table.switch_length = options_.space.geometry.original_length;
    }
    table.short_factors = candidate.factors;
    table.short_attention_factor = candidate.attention_factor;
    table.short_start_tokens = candidate.start_tokens;
    table.original_length = options_.space.geometry.original_length;
    return {table};
  }

  StageResult result(StopReason reason) const {
    StageResult r;
    r.stop_reason = reason;
    if (record_.best() >= 0) r.best = record_.row(record_.best());
    if (const std::int64_t id = chosen(); id >= 0) r.chosen = record_.row(id);
    for (const StoreRow& row : record_.rows()) {
      if (row.candidate.generation < 0) r.baselines.push_back(row);
      r.raced_out += row.result.status == Status::raced_out;
    }
    r.evaluations = record_.evaluations();
    r.strategy_cost = record_.strategy_cost();
    r.strategy_s = strategy_s_;
    r.frontier = record_.frontier();
    r.hypervolume = generations_.empty() ? kNan : generations_.back().hypervolume;
    if (!generations_.empty()) {
      r.cost_full_evaluations = generations_.back().cost;
      r.elapsed_s = generations_.back().elapsed_s;
    }
    return r;
  }

  const model::ModelConfig& config_;
  const Evaluator& evaluator_;
  const StageOptions& options_;
  const std::size_t objectives_;
  const Clock::time_point started_ = Clock::now();
  double earlier_s_ = 0.0;         ///< seconds of earlier runs of this job
  double scored_baselines_ = 0.0;  ///< how many this run scored
  double strategy_s_ = 0.0;
  StageRecord record_;
  std::vector<StoreGeneration> generations_;
  Patience patience_;
  bool out_of_patience_ = false;
  std::unique_ptr<Strategy> strategy_;
  StoreWriter writer_;
  double earlier_cost_ = 0.0;
};

}  // namespace

StageResult run_stage(const model::ModelConfig& config, const Evaluator& evaluator, const StageOptions& options) {
  return Stage(config, evaluator, options).run();
}

}  // namespace longrope::search
