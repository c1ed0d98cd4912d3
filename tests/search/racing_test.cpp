// Races on made-up windows whose truth is known.
#include "search/racing.hpp"

#include <cmath>
#include <limits>
#include <random>

#include "search/objective.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;

namespace {

constexpr double kTokens = 1000.0;

std::vector<model::Window> windows_of(std::size_t count, std::int64_t documents) {
  std::vector<model::Window> windows;
  for (std::size_t w = 0; w < count; ++w) {
    model::Window window;
    window.document = static_cast<std::int64_t>(w) % documents;
    window.length = static_cast<std::int64_t>(kTokens) + 1;
    windows.push_back(window);
  }
  return windows;
}

/// Scores whose mean NLL is `nats` plus what the window adds plus noise of the given size.
std::vector<WindowScore> scores(const std::vector<model::Window>& windows, double nats, double noise,
                                std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::vector<WindowScore> out;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const double level = 0.3 * std::sin(5.0 * static_cast<double>(w));  // windows differ far more than tables
    out.push_back({kTokens * (nats + level + noise * normal(random)), static_cast<std::int64_t>(kTokens)});
  }
  return out;
}

double mean_nats(const std::vector<WindowScore>& scores_) { return std::log(token_weighted_perplexity(scores_)); }

/// A history whose differences to the elite scatter by 0.3 of their size to the power 0.6.
double noise_of(double difference) { return 0.05 * std::pow(std::abs(difference) + 1e-3, 0.6); }

struct World {
  std::vector<model::Window> windows;
  std::vector<WindowScore> elite;
  std::vector<std::vector<WindowScore>> history;
};

World make_world(std::size_t count, std::int64_t documents, std::size_t history, std::mt19937_64& random) {
  World world;
  world.windows = windows_of(count, documents);
  world.elite = scores(world.windows, 3.0, 0.0, random);
  std::uniform_real_distribution<double> log_size(std::log(0.003), std::log(1.0));
  for (std::size_t i = 0; i < history; ++i) {
    const double difference = std::exp(log_size(random));
    world.history.push_back(scores(world.windows, 3.0 + difference, noise_of(difference), random));
  }
  return world;
}

Race make_race(const World& world, double confidence, std::size_t objectives = 1) {
  return Race(world.windows, objectives, confidence, std::vector<std::vector<WindowScore>>{world.elite}, world.history);
}

/// After how many windows a candidate is dropped; 0: never.
std::size_t dropped_after(const Race& race, const std::vector<WindowScore>& candidate) {
  std::vector<WindowScore> known(candidate.size(), {std::numeric_limits<double>::quiet_NaN(), 0});
  for (std::size_t w = 0; w < candidate.size(); ++w) {
    const auto& rungs = race.rungs();
    known[w] = candidate[w];
    if (std::find(rungs.begin(), rungs.end(), w + 1) == rungs.end()) continue;
    if (race.drop(known, w + 1)) return w + 1;
  }
  return 0;
}

}  // namespace

TEST_CASE("rungs are few and below the number of windows") {
  CHECK(race_rungs(1).empty());
  CHECK(race_rungs(2) == std::vector<std::size_t>{1});
  CHECK(race_rungs(3) == std::vector<std::size_t>{1, 2});
  CHECK(race_rungs(10) == std::vector<std::size_t>{1, 2, 3, 4, 6, 8});
  CHECK(race_rungs(100).size() < 14);
}

TEST_CASE("the prior finds how the scatter grows with the difference") {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::vector<std::vector<double>> differences;
  for (int i = 0; i < 400; ++i) {
    const double m = std::exp(-6.0 + 0.0125 * i), s = 0.2 * std::pow(m, 0.6);
    std::vector<double>& row = differences.emplace_back();
    for (int w = 0; w < 40; ++w) row.push_back(m + s * normal(random));
  }
  const VariancePrior prior = VariancePrior::fit(differences);
  CHECK(std::abs(prior.slope() - 0.6) < 0.06);
  CHECK(prior.degrees() > 50.0);  // all scatter of ln s^2 is that of samples of 40
  for (const double m : {0.01, 0.05, 0.3}) {
    CHECK(std::abs(std::sqrt(prior.variance(m)) / (0.2 * std::pow(m, 0.6)) - 1.0) < 0.1);
  }
  CHECK(prior.variance(1e-9) == prior.variance(1e-12));  // nothing is known below the smallest difference seen
  CHECK(prior.variance(1e-9) > 0.0);
}

TEST_CASE("a prior of nothing, or of nonsense, is none") {
  CHECK(VariancePrior().degrees() == 0.0);
  const double nan = std::nan("");
  const std::vector<std::vector<double>> rows = {{0.0, 0.0}, {nan, 1.0}, {1.0, 1.0}, {0.1, 0.3}};
  CHECK(VariancePrior::fit(rows).degrees() == 0.0);
  const auto windows = windows_of(3, 3);
  std::mt19937_64 random(1);
  const auto a = scores(windows, 3.5, 0.01, random), b = scores(windows, 3.0, 0.01, random);
  CHECK(race_bound(a, b, windows, 1, VariancePrior(), 0.05).lower == -std::numeric_limits<double>::infinity());
  // Two documents are a sample of their own; worse by 0.5 against a scatter of 0.01.
  CHECK(race_bound(a, b, windows, 2, VariancePrior(), 0.05).lower > 0.0);
}

TEST_CASE("a bound by hand") {
  // Two known windows of two documents, differences 0.1 and 0.3; two more documents to come; no prior: one degree of
  // freedom, whose 0.95 quantile is tan(pi (0.95 - 1/2)) = 6.3138.
  const auto windows = windows_of(4, 4);
  std::vector<WindowScore> elite(4, {3000.0, 1000}), candidate = elite;
  candidate[0].nll_nats += 100.0;
  candidate[1].nll_nats += 300.0;
  const RaceBound bound = race_bound(candidate, elite, windows, 2, VariancePrior(), 0.05);
  CHECK(std::abs(bound.difference - 0.2) < 1e-12);
  CHECK(bound.degrees == 1.0);
  CHECK(std::abs(bound.standard_error - 0.5 * std::sqrt(0.02)) < 1e-12);
  CHECK(std::abs(bound.lower - (0.2 - 6.313751514675043 * 0.5 * std::sqrt(0.02))) < 1e-9);
}

TEST_CASE("windows of one document count once") {
  std::mt19937_64 random(3);
  const auto apart = windows_of(8, 8), together = windows_of(8, 2);
  const auto elite = scores(apart, 3.0, 0.0, random), candidate = scores(apart, 3.1, 0.05, random);
  const RaceBound many = race_bound(candidate, elite, apart, 4, VariancePrior(), 0.05);
  const RaceBound few = race_bound(candidate, elite, together, 4, VariancePrior(), 0.05);
  CHECK(many.degrees == 3.0);
  CHECK(few.degrees == 1.0);
  CHECK(many.difference == few.difference);
}

TEST_CASE("candidates as good as the elite are dropped no more often than the confidence allows") {
  std::mt19937_64 random(7);
  for (const double confidence : {0.9, 0.99}) {
    for (const std::size_t count : {std::size_t{3}, std::size_t{10}}) {
      int better = 0, dropped = 0;
      for (int trial = 0; trial < 1500; ++trial) {
        const World world = make_world(count, 3, 20, random);
        const Race race = make_race(world, confidence);
        const double difference = -0.002 * static_cast<double>(trial % 3);
        const auto candidate = scores(world.windows, 3.0 + difference, noise_of(difference), random);
        if (!(mean_nats(candidate) <= mean_nats(world.elite))) continue;  // the truth: over all windows
        ++better;
        dropped += dropped_after(race, candidate) != 0;
      }
      INFO(confidence << " confidence, " << count << " windows: " << dropped << " of " << better << " dropped");
      REQUIRE(better > 700);
      CHECK(static_cast<double>(dropped) / better <= 1.0 - confidence);
    }
  }
}

TEST_CASE("clearly worse candidates are dropped early") {
  std::mt19937_64 random(11);
  std::size_t scored = 0, candidates = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const World world = make_world(10, 3, 20, random);
    const Race race = make_race(world, 0.95);
    const std::size_t after = dropped_after(race, scores(world.windows, 3.3, noise_of(0.3), random));
    scored += after == 0 ? 10 : after;
    ++candidates;
  }
  CHECK(static_cast<double>(scored) / static_cast<double>(candidates) < 3.0);
}

TEST_CASE("the estimate of a dropped candidate is near what all windows say, and says worse than the elite") {
  std::mt19937_64 random(13);
  const World world = make_world(5, 5, 20, random);
  const Race race = make_race(world, 0.95);
  const auto candidate = scores(world.windows, 3.4, 0.02, random);
  std::vector<WindowScore> known(5, {std::numeric_limits<double>::quiet_NaN(), 0});
  known[0] = candidate[0];
  const auto estimate = race.drop(known, 1);
  REQUIRE(estimate);
  CHECK((*estimate)[0] > token_weighted_perplexity(world.elite));
  CHECK(std::abs(std::log((*estimate)[0]) - mean_nats(candidate)) < 0.05);
  CHECK(race.drop(known, 1) == estimate);
}

TEST_CASE("with several objectives only what one elite beats in all of them is dropped") {
  std::mt19937_64 random(17);
  World world = make_world(4, 4, 0, random);
  const auto both = [&](double first, double second, double noise) {
    auto all = scores(world.windows, first, noise, random);
    const auto other = scores(world.windows, second, noise, random);
    all.insert(all.end(), other.begin(), other.end());
    return all;
  };
  const auto left = both(3.0, 4.0, 0.0), right = both(4.0, 3.0, 0.0);
  for (int i = 0; i < 20; ++i) world.history.push_back(both(4.2 + 0.01 * i, 4.2 + 0.01 * i, 0.01));
  auto windows = world.windows;
  windows.insert(windows.end(), world.windows.begin(), world.windows.end());
  const Race race(windows, 2, 0.95, std::vector<std::vector<WindowScore>>{left, right}, world.history);
  CHECK(race.rungs() == std::vector<std::size_t>{1, 2, 3});
  CHECK(race.drop(both(4.5, 4.5, 0.01), 1));         // beaten by both
  CHECK(race.drop(both(3.6, 4.6, 0.01), 1));         // beaten by left
  CHECK_FALSE(race.drop(both(3.5, 3.5, 0.01), 1));   // between them
  CHECK_FALSE(race.drop(both(9.0, 2.99, 0.01), 1));  // better than any in the second
  const auto estimates = race.drop(both(3.6, 4.6, 0.01), 1);
  CHECK(estimates->size() == 2);
}
