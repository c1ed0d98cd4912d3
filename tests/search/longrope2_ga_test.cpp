// longrope2-ga: its shape found again in every candidate, by a search of its own for the critical pair.
#include "search/longrope2_ga.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "search/strategy_requirements.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;
using namespace longrope::search::test;

namespace {

/// λ_i = λ_d^(i/d) below d, written with logarithms.
bool has_tail(const std::vector<double>& factors, std::size_t d) {
  for (std::size_t i = 0; i < d; ++i) {
    const double slope = std::log(factors[d]) / static_cast<double>(d);
    if (std::abs(std::log(factors[i]) - slope * static_cast<double>(i)) > 1e-12) return false;
  }
  return true;
}

bool on_grid(double x) { return x == std::round(x * 100.0) / 100.0; }

Space longrope2_space(std::int64_t dim, double scale, std::int64_t original, double theta) {
  return original_space("longrope2-ga", make_space(dim, scale, original, theta));
}

}  // namespace

TEST_CASE("longrope2-ga searches the critical dimension in the paper's range") {
  // LLaMA3-8B: 24 to 35, Phi3-mini: 19 to 31 (shared figures of the paper: the critical dimensions found were 30, 25).
  const LongRope2Ga llama3(longrope2_space(128, 16, 8192, 5e5), {});
  CHECK(llama3.first_critical() == 24);
  CHECK(llama3.last_critical() == 35);
  const LongRope2Ga phi3(longrope2_space(96, 64, 2048, 1e4), {});
  CHECK(phi3.first_critical() == 19);
  CHECK(phi3.last_critical() == 31);
  Space fixed = longrope2_space(128, 16, 8192, 5e5);
  fixed.critical = CriticalDimension::fixed;
  fixed.critical_pair = 30;
  CHECK(LongRope2Ga(fixed, {}).first_critical() == 30);
  CHECK(LongRope2Ga(fixed, {}).last_critical() == 30);
  fixed.critical_pair = 64;
  CHECK(LongRope2Ga(fixed, {}).last_critical() == 63);
}

TEST_CASE("longrope2-ga: 1344 candidates of an NTK tail and factors in [s, 2 s]") {
  struct Case {
    std::int64_t dim;
    double scale;
    std::int64_t original;
  };
  const auto [dim, scale, original] = GENERATE(Case{128, 32.0, 4096}, Case{64, 8.0, 256}, Case{34, 1.7, 2048});
  const Space space = longrope2_space(dim, scale, original, 1e4);
  LongRope2Ga strategy(space, {42, 0});
  const Told told = run(strategy, scale, 1 << 20, true);
  REQUIRE(told.candidates.size() == 1344);
  const auto first = static_cast<std::size_t>(strategy.first_critical());
  const auto last = static_cast<std::size_t>(strategy.last_critical());

  std::map<std::int64_t, std::size_t> critical;  // by id
  std::set<std::vector<double>> seen;
  std::set<std::size_t> drawn;
  int crossovers = 0, free_gene = 0;
  for (std::size_t n = 0; n < told.candidates.size(); ++n) {
    const Candidate& c = told.candidates[n];
    REQUIRE(is_non_decreasing(c.factors));
    seen.insert(c.factors);
    // The last pair that a tail can end at; a tail also ends at every pair before it, in exact arithmetic.
    std::size_t d = last;
    while (d > first && !(has_tail(c.factors, d) && on_grid(c.factors[d]) && c.factors[d] >= scale)) --d;
    REQUIRE(has_tail(c.factors, d));
    if (first > 0) REQUIRE(c.factors[0] == 1.0);
    for (std::size_t i = d; i < c.factors.size(); ++i) {
      REQUIRE(on_grid(c.factors[i]));
      REQUIRE((scale <= c.factors[i] && c.factors[i] <= 2.0 * scale + 1e-9));
    }
    critical[c.id] = d;
    if (n < 64) {
      REQUIRE(c.generation == 0);
      REQUIRE(c.parents[0] == -1);
      for (std::size_t i = d; i < c.factors.size(); ++i) REQUIRE(c.factors[i] == c.factors.back());
      drawn.insert(d);
      continue;
    }
    REQUIRE(c.generation == static_cast<int>((n - 64) / 32) + 1);
    REQUIRE(critical.at(c.parents[0]) == d);
    // Parents are among the 32 best of all before the generation.
    const std::size_t before = 64 + 32 * static_cast<std::size_t>(c.generation - 1);
    for (const std::int64_t parent : c.parents) {
      if (parent < 0) continue;
      int better = 0;
      for (std::size_t m = 0; m < before; ++m)
        better += told.objectives[m].first() < told.objectives[static_cast<std::size_t>(parent - 3)].first();
      REQUIRE(better < 32);
    }
    const auto& a = told.candidates[static_cast<std::size_t>(c.parents[0] - 3)].factors;
    if (c.origin == Origin::crossover) {
      ++crossovers;
      const auto& b = told.candidates[static_cast<std::size_t>(c.parents[1] - 3)].factors;
      for (std::size_t i = d; i < a.size(); ++i) REQUIRE((c.factors[i] == a[i] || c.factors[i] == b[i]));
    } else {
      // Every new value lies between its new left and its old right neighbour.
      for (std::size_t i = d; i < a.size(); ++i) {
        if (c.factors[i] == a[i]) continue;
        ++free_gene;
        if (i > d) REQUIRE(c.factors[i] >= c.factors[i - 1]);
        if (i + 1 < a.size()) REQUIRE(c.factors[i] <= a[i + 1]);
      }
    }
  }
  CHECK(seen.size() == told.candidates.size());
  CHECK(drawn.size() == last - first + 1);
  CHECK(crossovers > 100);
  CHECK(free_gene > 1000);
  const auto best = [&](std::size_t count) {
    double lowest = INFINITY;
    for (std::size_t n = 0; n < count; ++n) {
      if (told.objectives[n].first() < lowest) lowest = told.objectives[n].first();
    }
    return lowest;
  };
  CHECK(best(1344) < best(64));
}

TEST_CASE("longrope2-ga with a base table, at s = 1, with start tokens") {
  for (const double scale : {1.0, 4.1}) {
    Space space = longrope2_space(64, scale, 512, 1e4);
    for (int i = 0; i < 32; ++i) space.base_factors.push_back(1.0 + 0.29 * i);
    space.start_tokens = 8;
    LongRope2Ga strategy(space, {42, 0});
    const Told told = run(strategy, scale);
    REQUIRE(told.candidates.size() == 1344);
    for (const Candidate& c : told.candidates) {
      const auto factors = space.relative(c.factors);
      REQUIRE(c.start_tokens == 8);
      REQUIRE(factors.back() <= 2.0 * scale + 1e-9);
      for (std::size_t i = 1; i < factors.size(); ++i) REQUIRE(factors[i] >= factors[i - 1] * (1 - 1e-15));
    }
  }
}
