// The driver over an analytic evaluator: budget and cost, racing, early stop, frontier, holdout, resume.
#include <cmath>
#include <numeric>

#include "kernels/error.hpp"
#include "search/make_space.hpp"
#include "search/search_driver.hpp"
#include "tests/search/store_fixture.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

namespace {

constexpr std::int64_t kWindowTokens = 99;
constexpr std::int64_t kFewTokens[] = {kWindowTokens, 6, 17};  // by objective: an answer, key tokens

/// NLL of a window: the distance of the table to a target that depends a little on the window, and for windows of a
/// second objective to another target.
class AnalyticEvaluator final : public Evaluator {
 public:
  AnalyticEvaluator(std::size_t each, std::size_t objectives, double scatter = 0.2, bool uneven = false)
      : each_(each), scatter_(scatter), uneven_(uneven) {
    for (std::size_t w = 0; w < each * objectives; ++w) {
      model::Window window;
      window.document = static_cast<std::int64_t>(w % each);
      window.length = kWindowTokens + 1;
      windows_.push_back(window);
      costs_.push_back(1.0 / static_cast<double>(each * objectives));
    }
  }

  const std::vector<model::Window>& windows() const override { return windows_; }
  const std::vector<double>& window_costs() const override { return costs_; }
  std::vector<TaskScore> score(std::span<const model::RopeTable> tables, std::span<const EvalTask> tasks,
                               const std::function<void()>& on_task, const std::atomic<bool>* stop) const override {
    std::vector<TaskScore> scores;
    for (const EvalTask& task : tasks) {
      if (stop != nullptr && *stop) throw Interrupted("stopped");
      if (++scored_ == stop_after) throw Interrupted("stopped");
      TaskScore score;
      const std::int64_t tokens = uneven_ ? kFewTokens[task.window / each_] : kWindowTokens;
      score.score = {static_cast<double>(tokens) * nats(tables[task.table], task.window), tokens};
      if (fail_window == static_cast<std::int64_t>(task.window)) score.failure = "it broke";
      scores.push_back(score);
      if (on_task) on_task();
    }
    return scores;
  }

  mutable std::int64_t scored_ = 0;
  std::int64_t stop_after = -1;   ///< throws Interrupted at that task
  std::int64_t fail_window = -1;  ///< tasks on it fail

 private:
  double nats(const model::RopeTable& table, std::size_t w) const {
    const double target_scale = w < each_ ? 1.1 * kScale : 0.3 * kScale;
    const double shift = scatter_ * std::sin(7.0 * static_cast<double>(w % each_));
    double sum = 0.0;
    const double n = static_cast<double>(table.factors.size());
    for (std::size_t i = 0; i < table.factors.size(); ++i) {
      const double x = (static_cast<double>(i) + 0.5) / n;
      const double target = std::pow(target_scale, 1.0 / (1.0 + std::exp(-10.0 * (x - 0.55 - 0.1 * shift))));
      const double distance = std::log(table.factors[i]) - std::log(target);
      sum += distance * distance;
    }
    return 2.0 + shift + sum / n;
  }

  std::size_t each_;
  double scatter_;
  bool uneven_;  ///< windows of each objective score another number of tokens
  std::vector<model::Window> windows_;
  std::vector<double> costs_;
};

struct Job {
  model::ModelConfig config;
  AnalyticEvaluator evaluator;
  StageOptions options;

  Job(const std::filesystem::path& store, std::size_t each, const std::string& objectives = "ppl@2048")
      : evaluator(each, count_objectives(objectives), 0.2, objectives.find("needle") != std::string::npos) {
    config.rope = {kDim, 10000.0, 256};
    options.store = store;
    options.header = make_header();
    options.header.corpus.window_document.clear();
    options.header.corpus.window_first_token.clear();
    options.header.corpus.window_length.clear();
    for (const model::Window& window : evaluator.windows()) {
      options.header.corpus.window_document.push_back(window.document);
      options.header.corpus.window_first_token.push_back(0);
      options.header.corpus.window_length.push_back(window.length);
    }
    options.header.stage.objectives = objectives;
    options.strategy = "paper-ga";
    options.space = make_space(config, 2048);
    options.objectives = parse_objectives(objectives, 2048);
    options.budget = 150;
  }

  StageResult run() { return run_stage(config, evaluator, options); }
};

double sum_of_costs(const StoreContents& contents, bool strategy_only) {
  double cost = 0.0;
  for (const StoreRow& row : contents.rows)
    if (!strategy_only || row.candidate.generation >= 0) cost += row.result.cost;
  return cost;
}

}  // namespace

TEST_CASE("without racing a budget is a number of evaluations") {
  const TemporaryDirectory directory;
  Job job(directory / "a.h5", 3);
  const StageResult result = job.run();
  CHECK(result.evaluations == 150);
  CHECK(result.strategy_cost == 150.0);
  CHECK(result.cost_full_evaluations == 153.0);
  CHECK(result.stop_reason == StopReason::budget);
  CHECK(job.evaluator.scored_ == 153 * 3);
  const StoreContents contents = read_store(directory / "a.h5");
  CHECK(contents.header.stage.stop_reason == "budget");
  CHECK(contents.header.stage.status == "done");
  CHECK(contents.generations.back().frontier ==
        std::vector<StorePoint>{{result.best.candidate.id, {result.best.result.first()}}});
  CHECK(contents.generations.back().hypervolume == result.hypervolume);
  double worst = 0.0;
  for (int i = 0; i < 3; ++i) worst = std::max(worst, contents.rows[static_cast<std::size_t>(i)].result.first());
  CHECK(std::abs(result.hypervolume - std::log(worst / result.best.result.first())) < 1e-12);
}

TEST_CASE("racing spends the budget on more candidates, and what it stores adds up") {
  const TemporaryDirectory directory;
  Job plain(directory / "plain.h5", 5), racing(directory / "racing.h5", 5);
  racing.options.racing = 0.95;
  const StageResult without = plain.run(), with = racing.run();
  CHECK(with.raced_out > 20);
  CHECK(with.evaluations > without.evaluations + 15);
  CHECK(with.best.result.first() <= without.best.result.first());

  const StoreContents contents = read_store(directory / "racing.h5");
  CHECK(std::abs(sum_of_costs(contents, true) - with.strategy_cost) < 1e-9);
  CHECK(std::abs(sum_of_costs(contents, false) - contents.generations.back().cost) < 1e-9);
  CHECK(with.strategy_cost <= 150.0);
  CHECK(with.strategy_cost > 149.0);
  std::int64_t scored = 0, dropped = 0;
  for (const StoreRow& row : contents.rows) {
    std::int64_t known = 0;
    for (const WindowScore& score : row.result.windows) known += std::isfinite(score.nll_nats);
    scored += known;
    CHECK(std::abs(row.result.cost - static_cast<double>(known) / 5.0) < 1e-12);
    REQUIRE((row.result.status == Status::raced_out) == (known < 5));
    if (known == 5) continue;
    ++dropped;
    CHECK(row.result.windows[static_cast<std::size_t>(known)].tokens == 0);
    CHECK(row.result.first() > with.best.result.first());
    CHECK(std::isfinite(row.result.first()));
  }
  CHECK(dropped == with.raced_out);
  CHECK(scored == racing.evaluator.scored_);
  CHECK(with.best.result.complete());
}

TEST_CASE("a raced search continued after a stop anywhere is the one that ran through") {
  for (const std::string objectives : {"ppl@2048", "ppl@2048,ppl@256", "ppl@2048,needle@2048,key-ppl@2048"}) {
    const TemporaryDirectory directory;
    Job through(directory / "through.h5", 4, objectives);
    through.options.racing = 0.95;
    const StageResult expected = through.run();
    CHECK(expected.raced_out > 0);
    Job stopped(directory / "stopped.h5", 4, objectives);
    stopped.options.racing = 0.95;
    stopped.options.resume = true;
    int runs = 0;
    for (;; ++runs) {
      stopped.evaluator.scored_ = 0;
      stopped.evaluator.stop_after = 150 + 61 * runs;
      const StageResult result = stopped.run();
      CHECK(read_store(directory / "stopped.h5").header.stage.stop_reason ==
            (result.interrupted() ? "interrupted" : "budget"));
      if (!result.interrupted()) break;
    }
    CHECK(runs >= 2);
    CHECK(equal(read_store(directory / "stopped.h5"), read_store(directory / "through.h5")));
  }
}

TEST_CASE("a larger budget goes on inside a generation as if it had been there from the start") {
  for (const bool race : {false, true}) {
    const TemporaryDirectory directory;
    Job whole(directory / "whole.h5", 4), parts(directory / "parts.h5", 4);
    if (race) whole.options.racing = parts.options.racing = 0.95;
    whole.run();
    parts.options.budget = 70;
    parts.run();
    parts.options.budget = 150;
    parts.options.resume = true;
    parts.run();
    const StoreContents a = read_store(directory / "whole.h5"), b = read_store(directory / "parts.h5");
    REQUIRE(a.rows.size() == b.rows.size());
    for (std::size_t i = 0; i < a.rows.size(); ++i) REQUIRE(equal(a.rows[i], b.rows[i], false));
  }
}

TEST_CASE("a task that fails makes a failed row, raced or not") {
  for (const bool race : {false, true}) {
    const TemporaryDirectory directory;
    Job job(directory / "a.h5", 3);
    if (race) job.options.racing = 0.95;
    job.evaluator.fail_window = 2;
    job.options.budget = 64;
    const StageResult result = job.run();
    CHECK(result.best.candidate.id == -1);
    CHECK(std::isnan(result.hypervolume));
    const StoreContents contents = read_store(directory / "a.h5");
    for (const StoreRow& row : contents.rows) {
      REQUIRE(row.result.status == Status::failed);
      REQUIRE(row.result.reason == "it broke");
    }
  }
}

TEST_CASE("patience ends a search that does not move, and resuming it changes nothing") {
  const TemporaryDirectory directory;
  Job job(directory / "a.h5", 3);
  job.options.budget = 1344;
  job.options.patience = 100.0;
  const StageResult result = job.run();
  CHECK(result.stop_reason == StopReason::patience);
  CHECK(result.evaluations < 1344);
  const StoreContents before = read_store(directory / "a.h5");
  CHECK(before.header.stage.stop_reason == "patience");
  // The elite of 100 evaluations before the end was within the least fall of the last.
  double early = 0.0;
  for (const StoreGeneration& generation : before.generations)
    if (generation.cost <= before.generations.back().cost - 100.0) early = generation.best_objective;
  CHECK(std::log(early / result.best.result.first()) < 2 * Patience::kLeastFall);
  job.options.resume = true;
  CHECK(job.run().stop_reason == StopReason::patience);
  CHECK(equal(read_store(directory / "a.h5"), before));
  job.options.patience = 0.0;
  job.options.budget = result.evaluations + 50;
  CHECK(job.run().stop_reason == StopReason::budget);
}

TEST_CASE("patience counts falls that add up, and starts anew with each") {
  Patience patience(10.0);
  const double nan = std::nan("");
  const auto at = [&](double cost, double elite, double bound) {
    return patience.exhausted({cost, elite, bound, nan});
  };
  CHECK_FALSE(at(0.0, 3.0, nan));
  CHECK_FALSE(at(9.0, 3.0 - 0.9e-4, nan));  // too little
  CHECK(at(10.0, 3.0 - 0.9e-4, nan));
  CHECK_FALSE(at(11.0, 3.0 - 1.1e-4, nan));   // enough since the last that counted
  CHECK_FALSE(at(20.0, 3.0 - 1.1e-4, -0.1));  // the bound moved
  CHECK_FALSE(at(29.0, 3.0 - 1.1e-4, -0.1));
  CHECK(at(30.0, 3.0 - 1.1e-4, -0.1));
  Patience never(0.0);
  CHECK_FALSE(never.exhausted({1e9, 3.0, nan, nan}));
  CHECK_FALSE(never.exhausted({2e9, 3.0, nan, nan}));
}

TEST_CASE("the frontier is what no complete candidate dominates, in every generation of the store") {
  const TemporaryDirectory directory;
  Job job(directory / "a.h5", 3, "ppl@2048,ppl@256");
  const StageResult result = job.run();
  CHECK(result.baselines.size() == 4);  // with the unscaled model as the yardstick of short windows
  CHECK(result.frontier.size() >= 2);
  const StoreContents contents = read_store(directory / "a.h5");
  double last_volume = -1.0;
  for (const StoreGeneration& generation : contents.generations) {
    std::vector<std::int64_t> expected;
    for (std::int64_t i = 0; i < generation.evaluations; ++i) {
      if (i == 3) continue;  // none
      const auto& a = contents.rows[static_cast<std::size_t>(i)].result.objectives;
      bool beaten = false;
      for (std::int64_t j = 0; j < generation.evaluations && !beaten; ++j) {
        if (j == 3 || j == i) continue;
        const auto& b = contents.rows[static_cast<std::size_t>(j)].result.objectives;
        beaten = b[0] <= a[0] && b[1] <= a[1] && (b != a || j < i);
      }
      if (!beaten) expected.push_back(i);
    }
    std::vector<std::int64_t> found;
    for (const StorePoint& point : generation.frontier) {
      found.push_back(point.id);
      CHECK(point.objectives == contents.rows[static_cast<std::size_t>(point.id)].result.objectives);
    }
    std::sort(found.begin(), found.end());
    CHECK(found == expected);
    CHECK(generation.hypervolume >= last_volume);
    last_volume = generation.hypervolume;
  }
}

TEST_CASE("the holdout is scored once at the end, and judged") {
  const TemporaryDirectory directory;
  Job job(directory / "a.h5", 3);
  const AnalyticEvaluator same(6, 1);
  job.options.holdout = &same;
  StoreCorpus corpus = job.options.header.corpus;
  corpus.window_document = {0, 1, 2, 3, 4, 5};
  corpus.window_first_token = {0, 0, 0, 0, 0, 0};
  corpus.window_length = {100, 100, 100, 100, 100, 100};
  job.options.header.holdout = {corpus, {}, ""};
  const StageResult result = job.run();
  CHECK(same.scored_ == 5 * 6);  // best, runner-up and three baselines
  REQUIRE(result.holdout);
  CHECK(result.holdout->rows[0].id == result.best.candidate.id);
  CHECK(result.holdout->rows[1].name == "runner_up");
  CHECK(result.holdout->to_baseline->significant);
  CHECK(contains(result.holdout->verdict, "is significant at 95%"));
  CHECK_FALSE(result.holdout->overfitted);
  const StoreContents contents = read_store(directory / "a.h5");
  REQUIRE(contents.header.holdout);
  CHECK(contents.header.holdout->verdict == result.holdout->verdict);
  REQUIRE(contents.header.holdout->rows.size() == 5);
  const auto stored = stored_holdout(contents);
  REQUIRE(stored);
  CHECK(stored->verdict == result.holdout->verdict);
  CHECK(stored->to_runner_up->difference.nats_per_token == result.holdout->to_runner_up->difference.nats_per_token);
}
