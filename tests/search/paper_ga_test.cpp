#include "search/paper_ga.hpp"

#include <cmath>
#include <iterator>
#include <set>

#include "search/factor_grid.hpp"
#include "search/generational_strategy.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;
using namespace longrope::search::test;

TEST_CASE("the factor grid is 1.00, 1.01, ... 1.25 s") {
  const FactorGrid grid(1.25 * 8);
  CHECK(grid.size() == 901);
  CHECK(grid.upper() == 10.0);
  CHECK(FactorGrid::value(7) == 1.07);
  for (std::int64_t k = 0; k < grid.size(); ++k) {
    const double x = FactorGrid::value(k);
    REQUIRE(grid.first_at_least(x) == k);
    REQUIRE(grid.last_at_most(x) == k);
    REQUIRE(grid.first_at_least(std::nextafter(x, 100.0)) == k + 1);
    REQUIRE(grid.last_at_most(std::nextafter(x, 0.0)) == k - 1);
  }
  CHECK(grid.last_at_most(1e9) == 900);
  CHECK(grid.first_at_least(0.5) == 0);
  CHECK(FactorGrid(1.25).size() == 26);
  CHECK(FactorGrid(1.25 * 1.6).size() == 101);
}

TEST_CASE("paper-ga's first population: PI, NTK, YaRN and mutations of them") {
  const Space space = make_space(64, 8.0, 256);
  PaperGa strategy(space, {42, 0});
  const auto first = strategy.ask(3, 1000);
  REQUIRE(first.size() == 64);
  CHECK(first[0].factors == space.pi_factors);
  CHECK(first[1].factors == space.ntk_factors);
  CHECK(first[2].factors == space.yarn_factors);
  for (std::size_t k = 0; k < 64; ++k) {
    CHECK(first[k].id == static_cast<std::int64_t>(k) + 3);
    CHECK(first[k].generation == 0);
    CHECK(first[k].origin == (k < 3 ? Origin::seed : Origin::mutation));
    CHECK(first[k].parents[0] == (k < 3 ? -1 : static_cast<std::int64_t>(k % 3) + 3));
  }
}

TEST_CASE("paper-ga: 1344 different candidates, in order, in bounds, new values on the grid") {
  for (const std::int64_t dim : {8, 16, 34, 64, 80, 96, 128}) {
    for (const double scale : {1.5, 8.0, 64.0}) {
      const Space space = make_space(dim, scale, 2048);
      PaperGa strategy(space, {42, 0});
      const Told told = run(strategy, scale, 1 << 20, true);
      REQUIRE(told.candidates.size() == 1344);
      std::set<std::vector<double>> seen;
      std::set<double> off_grid;
      for (const auto* seed : {&space.pi_factors, &space.ntk_factors, &space.yarn_factors})
        off_grid.insert(seed->begin(), seed->end());
      for (const Candidate& c : told.candidates) {
        REQUIRE(is_non_decreasing(c.factors));
        REQUIRE(c.factors.front() >= 1.0);
        REQUIRE(c.factors.back() <= 1.25 * scale + 1e-9);
        for (const double factor : c.factors) {
          REQUIRE((off_grid.contains(factor) || factor == std::round(factor * 100.0) / 100.0));
        }
        seen.insert(c.factors);
        REQUIRE(c.start_tokens == 0);
        REQUIRE((c.parents[1] >= 0) == (c.origin == Origin::crossover));
        REQUIRE((c.parents[0] < c.id && c.parents[1] < c.id));
      }
      CHECK(seen.size() == told.candidates.size());
    }
  }
}

TEST_CASE("paper-ga crosses genes of both parents, who are among the 32 best") {
  PaperGa strategy(make_space(64, 8.0), {42, 0});
  const Told told = run(strategy, 8.0);
  int crossovers = 0;
  for (const Candidate& c : told.candidates) {
    if (c.generation == 0) continue;
    const std::size_t before = 64 + 32 * static_cast<std::size_t>(c.generation - 1);
    for (const std::int64_t parent : c.parents) {
      if (parent < 0) continue;
      REQUIRE(static_cast<std::size_t>(parent - 3) < before);
      int better = 0;
      for (std::size_t n = 0; n < before; ++n)
        better += told.objectives[n].first() < told.objectives[static_cast<std::size_t>(parent - 3)].first();
      REQUIRE(better < 32);
    }
    if (c.origin != Origin::crossover) continue;
    ++crossovers;
    const auto& a = told.candidates[static_cast<std::size_t>(c.parents[0] - 3)].factors;
    const auto& b = told.candidates[static_cast<std::size_t>(c.parents[1] - 3)].factors;
    for (std::size_t i = 0; i < a.size(); ++i) REQUIRE((c.factors[i] == a[i] || c.factors[i] == b[i]));
  }
  CHECK(crossovers > 100);
}

TEST_CASE("paper-ga improves on its seeds and on random candidates") {
  const double scale = 8.0;
  const Space space = make_space(64, scale);
  PaperGa strategy(space, {42, 0});
  const Told told = run(strategy, scale);
  double best = INFINITY, seeds = INFINITY, random_best = INFINITY;
  for (std::size_t n = 0; n < told.objectives.size(); ++n) {
    best = std::min(best, told.objectives[n].first());
    if (n < 3) seeds = std::min(seeds, told.objectives[n].first());
  }
  RandomStream random(1, 0, 0, 0, Purpose::random);
  for (int n = 0; n < 1344; ++n) {
    std::vector<double> factors(32);
    for (double& factor : factors) factor = 1.0 + random.uniform() * (1.25 * scale - 1.0);
    std::sort(factors.begin(), factors.end());
    random_best = std::min(random_best, bowl(factors, scale));
  }
  CHECK(best - 1.0 < 0.5 * (seeds - 1.0));
  CHECK(best < random_best);
}

TEST_CASE("paper-ga searches start tokens when asked to, in the paper's set") {
  Space space = make_space(32, 4.0);
  space.search_start_tokens = true;
  space.attention_factor = 1.2;
  PaperGa strategy(space, {42, 0});
  const Told told = run(strategy, 4.0);
  std::set<std::int32_t> seen;
  for (const Candidate& c : told.candidates) {
    REQUIRE(std::find(std::begin(kPaperStartTokens), std::end(kPaperStartTokens), c.start_tokens) !=
            std::end(kPaperStartTokens));
    REQUIRE(c.attention_factor == 1.2);
    seen.insert(c.start_tokens);
    if (c.id < 6) REQUIRE(c.start_tokens == 0);
  }
  CHECK(seen.size() > 7);

  space.search_start_tokens = false;
  space.start_tokens = 16;
  PaperGa fixed(space, {42, 0});
  for (const Candidate& c : fixed.ask(0, 64)) CHECK(c.start_tokens == 16);
}

TEST_CASE("paper-ga has something to search at s = 1") {
  PaperGa strategy(make_space(16, 1.0), {42, 0});
  const Told told = run(strategy, 1.0);
  REQUIRE(told.candidates.size() == 1344);
  for (const Candidate& c : told.candidates) {
    REQUIRE(is_non_decreasing(c.factors));
    REQUIRE(c.factors.back() <= 1.25);
  }
}
