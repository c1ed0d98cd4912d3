#include "search/random_search.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;
using namespace longrope::search::test;

TEST_CASE("random: the three formulas, then increasing tables that are log-uniform before they are sorted") {
  const Space space = make_space(64, 8.0, 256);
  RandomSearch strategy(space, {42, 0, 512});
  const Told told = run(strategy, 8.0);
  REQUIRE(told.candidates.size() == 512 * 8);
  CHECK(told.candidates[0].factors == space.pi_factors);
  CHECK(told.candidates[1].factors == space.ntk_factors);
  CHECK(told.candidates[2].factors == space.yarn_factors);
  // Order statistic k of n uniform numbers: mean (k + 1) / (n + 1), variance p (1 - p) / (n + 2).
  const double n = 32, count = 512 * 8 - 3;
  for (std::size_t k = 0; k < 32; ++k) {
    double sum = 0.0, squares = 0.0;
    for (std::size_t m = 3; m < told.candidates.size(); ++m) {
      const double u = std::log(told.candidates[m].factors[k]) / std::log(10.0);
      sum += u;
      squares += u * u;
    }
    const double p = static_cast<double>(k + 1) / (n + 1), variance = p * (1 - p) / (n + 2);
    CHECK(std::abs(sum / count - p) < 5.0 * std::sqrt(variance / count));
    CHECK(std::abs(squares / count - (sum / count) * (sum / count) - variance) < 0.15 * variance);
  }
  std::set<std::vector<double>> seen;
  for (const Candidate& c : told.candidates) {
    REQUIRE(is_non_decreasing(c.factors));
    REQUIRE((c.factors.front() >= 1.0 && c.factors.back() <= 10.0));
    REQUIRE(c.attention_factor == 1.0);
    REQUIRE(c.start_tokens == 0);
    seen.insert(c.factors);
  }
  CHECK(seen.size() == told.candidates.size());
}

TEST_CASE("random ignores what it is told") {
  RandomSearch a(make_space(16, 4.0), {7, 1, 20}), b(make_space(16, 4.0), {7, 1, 20});
  const Told good = run(a, 4.0), bad = run(b, 4.0, 5, true);
  REQUIRE(good.candidates.size() == 160);
  REQUIRE(bad.candidates.size() == 160);
  for (std::size_t n = 0; n < 160; ++n) REQUIRE(same(good.candidates[n], bad.candidates[n]));
}

TEST_CASE("random searches everything a space declares") {
  Space space = make_space(64, 8.0, 256);
  space.bounds = FactorBounds::longrope2;
  space.critical = CriticalDimension::searched;
  space.search_start_tokens = true;
  space.search_attention_factor = true;
  space.attention_factor = 1.1;
  space.attention_factor_lower = 0.8;
  space.attention_factor_upper = 1.6;
  const std::int64_t from = space.critical_pair_of(10), to = space.critical_pair_of(1);
  REQUIRE(from < to);
  for (const Monotonicity order : {Monotonicity::monotone, Monotonicity::free}) {
    space.monotonicity = order;
    RandomSearch strategy(space, {42, 0, 100});
    const Told told = run(strategy, 8.0);
    std::set<std::int32_t> tokens;
    std::set<std::int64_t> criticals;
    int below_one = 0, disordered = 0;
    for (const Candidate& c : told.candidates) {
      bool fits = false;
      for (std::int64_t critical = from; critical <= to; ++critical) {
        bool inside = true;
        for (std::int64_t i = 0; i < 32; ++i) {
          const double x = c.factors[static_cast<std::size_t>(i)];
          inside = inside && (i < critical ? 1.0 <= x && x <= 8.0 : 8.0 <= x && x <= 16.0);
        }
        fits = fits || inside;
        if (inside && c.id >= 6) criticals.insert(critical);
      }
      REQUIRE(fits);
      disordered += !is_non_decreasing(c.factors);
      tokens.insert(c.start_tokens);
      REQUIRE((0.8 <= c.attention_factor && c.attention_factor <= 1.6));
      below_one += c.attention_factor < 1.0;
    }
    CHECK(criticals.size() == static_cast<std::size_t>(to - from + 1));
    CHECK(tokens.size() == 14);
    // log-uniform: a third of the draws lies below 1 (ln(1/0.8) / ln 2 = 0.32).
    CHECK(std::abs(below_one / 797.0 - 0.322) < 0.07);
    CHECK((disordered > 700) == (order == Monotonicity::free));
    if (order == Monotonicity::monotone) CHECK(disordered == 0);
  }
}
