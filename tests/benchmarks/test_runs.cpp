// The memo cache, the broker, traces and peers: what a run is made of.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "experiments/benchmarks/strategies/analytic.hpp"
#include "experiments/benchmarks/strategies/broker.hpp"
#include "experiments/benchmarks/strategies/memo.hpp"
#include "experiments/benchmarks/strategies/peers.hpp"
#include "experiments/benchmarks/strategies/run.hpp"
#include "kernels/error.hpp"
#include "search/strategy.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;         // NOLINT(google-build-using-namespace)
using namespace longrope::bench;  // NOLINT(google-build-using-namespace)
using search::Candidate;

namespace {

Candidate with_factor(double factor) {
  Candidate candidate;
  candidate.factors = {1.0, factor};
  return candidate;
}

}  // namespace

TEST_CASE("the memo asks once for a table and never again") {
  MemoCache memo;
  std::vector<std::size_t> asked;
  const MemoCache::Evaluate evaluate = [&](std::span<const Candidate> candidates) {
    asked.push_back(candidates.size());
    std::vector<Score> scores;
    for (const Candidate& c : candidates)
      scores.push_back({10.0 * c.factors[1] + c.start_tokens + 0.1 * c.attention_factor, 0.5});
    return scores;
  };
  Candidate tokens = with_factor(2.0), attention = with_factor(2.0);
  tokens.start_tokens = 4;
  attention.attention_factor = 1.5;
  const std::vector<Candidate> first = {with_factor(2.0), with_factor(3.0), with_factor(2.0), tokens, attention};
  const auto scores = memo.score(first, evaluate);
  REQUIRE(scores.size() == 5);
  CHECK(scores[0].objective == Approx(20.1));
  CHECK(scores[1].objective == Approx(30.1));
  CHECK(scores[2].objective == Approx(20.1));
  CHECK(scores[3].objective == Approx(24.1));
  CHECK(scores[4].objective == Approx(20.15));
  CHECK(asked == std::vector<std::size_t>{4});
  CHECK(memo.hits() == 1);

  CHECK(memo.score(std::vector<Candidate>{with_factor(3.0)}, evaluate)[0].objective == Approx(30.1));
  CHECK(asked == std::vector<std::size_t>{4});
  CHECK(memo.hits() == 2);

  const MemoCache::Evaluate fails = [](std::span<const Candidate>) -> std::vector<Score> {
    throw std::runtime_error("no");
  };
  CHECK_THROWS_AS(memo.score(std::vector<Candidate>{with_factor(5.0)}, fails), std::runtime_error);
  CHECK(memo.score(std::vector<Candidate>{with_factor(5.0)}, evaluate)[0].objective == Approx(50.1));
  CHECK(asked == std::vector<std::size_t>{4, 1});
}

TEST_CASE("the broker gives every run its own scores and evaluates what comes together together") {
  std::atomic<int> inside{0};
  std::atomic<std::size_t> largest{0};
  std::atomic<bool> overlapped{false};
  Broker broker([&](std::span<const Candidate> candidates) {
    if (++inside != 1) overlapped = true;
    largest = std::max(largest.load(), candidates.size());
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::vector<Score> scores;
    for (const Candidate& c : candidates) {
      if (c.factors[1] == 666.0) {
        --inside;
        throw RuntimeError("bad one");
      }
      scores.push_back({c.factors[1] * 2.0, 0.0});
    }
    --inside;
    return scores;
  });
  constexpr std::size_t kRuns = 6;
  broker.expect(kRuns);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < kRuns; ++r) {
    threads.emplace_back([&, r] {
      for (int k = 0; k < 20; ++k) {
        const double factor = 1.0 + static_cast<double>(r) + 0.01 * k;
        const std::vector<Candidate> ask = {with_factor(factor), with_factor(factor + 100.0)};
        const auto scores = broker.score(ask);
        if (scores.size() != 2 || scores[0].objective != 2.0 * factor || scores[1].objective != 2.0 * (factor + 100.0))
          ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK_FALSE(overlapped);
  CHECK(largest > 2);
  CHECK_THROWS_AS(broker.score(std::vector<Candidate>{with_factor(666.0)}), RuntimeError);
  CHECK(broker.score(std::vector<Candidate>{with_factor(7.5)})[0].objective == 15.0);
}

TEST_CASE("a trace knows cost, best so far and the best within a hundred") {
  Trace trace;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  trace.add(with_factor(1.0), nan, 1.0);
  trace.add(with_factor(2.0), 8.0, 0.25, false);  // an estimate is never the best
  trace.add(with_factor(3.0), 9.0, 0.75);
  trace.add(with_factor(4.0), 7.0, 98.0);
  trace.add(with_factor(5.0), 7.5, 0.5);
  trace.add(with_factor(6.0), 6.0, 1.0);
  CHECK(trace.cost() == std::vector<double>{1.0, 1.25, 2.0, 100.0, 100.5, 101.5});
  REQUIRE(trace.best().size() == 6);
  CHECK(std::isnan(trace.best()[0]));
  CHECK(std::isnan(trace.best()[1]));
  CHECK(std::vector<double>(trace.best().begin() + 2, trace.best().end()) == std::vector<double>{9.0, 7.0, 7.0, 6.0});
  REQUIRE(trace.checkpoint_best());
  CHECK(trace.checkpoint_best()->factors[1] == 4.0);
  REQUIRE(trace.final_best());
  CHECK(trace.final_best()->factors[1] == 6.0);
}

TEST_CASE("isotonic repair is the nearest non-decreasing vector") {
  // Oracle: max over j <= i of min over k >= i of mean(z[j..k]) (Robertson, Wright and Dykstra, 1988).
  const std::vector<std::vector<double>> cases = {
      {1.0}, {1.0, 2.0, 3.0}, {3.0, 2.0, 1.0}, {1.0, 3.0, 2.0, 2.5, 0.0, 4.0, 4.0, 3.9, -2.0, 9.0}};
  for (const auto& z : cases) {
    const std::vector<double> got = isotonic(z);
    REQUIRE(got.size() == z.size());
    for (std::size_t i = 0; i < z.size(); ++i) {
      double expected = -1e300;
      for (std::size_t j = 0; j <= i; ++j) {
        double lowest = 1e300;
        for (std::size_t k = i; k < z.size(); ++k) {
          double sum = 0.0;
          for (std::size_t m = j; m <= k; ++m) sum += z[m];
          lowest = std::min(lowest, sum / static_cast<double>(k - j + 1));
        }
        expected = std::max(expected, lowest);
      }
      CHECK(got[i] == Approx(expected).margin(1e-12));
    }
  }
}

TEST_CASE("peers ask for monotone candidates within bounds, stop at the budget and improve on YaRN") {
  for (const std::string& name : peer_names()) {
    const auto peer = find_peer(name);
    if (!peer) {
      WARN(name << ": this build lacks its library");
      continue;
    }
    AnalyticInstance instance(AnalyticKind::separable, 32, 2);
    const search::Space& space = instance.space();
    std::int64_t calls = 0, bad = 0;
    double best = 1e300;
    const PeerObjective objective = [&](const Candidate& candidate) {
      if (calls == 300) throw PeerDone{};
      ++calls;
      for (std::size_t i = 0; i < candidate.factors.size(); ++i) {
        if (!(candidate.factors[i] >= 1.0 && candidate.factors[i] <= 1.25 * space.scale)) ++bad;
        if (i > 0 && candidate.factors[i - 1] > candidate.factors[i]) ++bad;
      }
      const double value = calls % 50 == 7 ? std::nan("") : instance.value(candidate.factors);
      if (value < best) best = value;
      return value;
    };
    try {
      peer->run(space, 1, 300, objective);
    } catch (const PeerDone&) {
    }
    CHECK(calls <= 300);
    CHECK(calls > 250);
    CHECK(bad == 0);
    const double yarn = instance.value(space.yarn_factors);
    CHECK(best - 1.0 < 0.5 * (yarn - 1.0));

    const std::atomic<bool> stop{false};
    const RunRecord run = run_strategy({"separable-32", name, 1, 90, "ask-tell"}, instance, stop);
    CHECK(run.cost.size() == 90);
    CHECK(run.cost.back() == 90.0);
    CHECK_FALSE(run.setup.empty());
    const std::atomic<bool> stopped{true};
    CHECK_THROWS_AS(run_strategy({"separable-32", name, 1, 90, "ask-tell"}, instance, stopped), Interrupted);
  }
}

TEST_CASE("a run of a strategy is what asking and telling it gives") {
  AnalyticInstance instance(AnalyticKind::wall, 32, 6);
  const std::atomic<bool> stop{false};
  const RunRecord run = run_strategy({"wall-32", "paper-ga", 6, 120, "ask-tell"}, instance, stop);
  search::StrategyOptions options;
  options.seed = 6;
  options.budget = 120;
  const auto strategy = search::make_strategy("paper-ga", instance.space(), options);
  double best = 1e300;
  std::vector<double> expected;
  while (expected.size() < 120) {
    const auto done = static_cast<std::int64_t>(expected.size());
    const auto candidates = strategy->ask(done, 120 - done);
    std::vector<search::Outcome> outcomes;
    for (const Candidate& candidate : candidates) {
      outcomes.emplace_back(instance.value(candidate.factors));
      best = std::min(best, outcomes.back().first());
      expected.push_back(best);
    }
    strategy->tell(candidates, outcomes);
  }
  CHECK(run.best == expected);
  CHECK(run.cost.back() == 120.0);
  CHECK(instance.value(run.final_factors) == best);
  CHECK(instance.value(run.checkpoint_factors) == expected[99]);
  CHECK(run.yarn == instance.value(instance.space().yarn_factors));
  CHECK(run.overhead_cpu_s > 0.0);
  CHECK(std::isnan(run.held_out_final));
}
