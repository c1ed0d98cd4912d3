// release-ga against a second writing of the original's rules: float32 arrays, materialized aranges, a history list.
#include "search/release_ga.hpp"

#include <cmath>
#include <optional>
#include <vector>

#include "search/generational_strategy.hpp"
#include "search/release_moves.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;
using namespace longrope::search::test;

namespace {

using Array = std::vector<float>;  // numpy float32, as init_factors is
using History = std::vector<Array>;

std::vector<double> arange(double start, double stop, double step) {
  const double length = std::ceil((stop - start) / step);
  std::vector<double> values;
  if (!(length > 0)) return values;
  const double delta = (start + step) - start;
  for (int i = 0; i < static_cast<int>(length); ++i) values.push_back(i == 1 ? start + step : start + i * delta);
  return values;
}

bool allclose(const Array& a, const Array& b) {
  bool all = true;
  for (std::size_t i = 0; i < a.size(); ++i) all = all && std::abs(a[i] - b[i]) <= 1e-8f + 1e-5f * std::abs(b[i]);
  return all;
}

bool rejected(const Array& v, const History& history) {
  bool is_in = false, decreases = false;
  for (const Array& h : history) is_in = is_in || allclose(h, v);
  for (std::size_t i = 1; i < v.size(); ++i) decreases = decreases || !(v[i] - v[i - 1] >= 0.0f);
  return is_in || decreases;
}

Array mutate(Array v, double scale, const History& history, RandomStream& random) {
  const std::vector<double> evo_list = arange(1.0, 1.0 + scale + 0.01, 0.01);
  while (rejected(v, history)) {
    for (std::size_t dim = 0; dim < v.size(); ++dim) {
      if (random.uniform() < 0.3) {
        std::vector<double> current;
        if (dim == 0) {
          current = arange(1.0, static_cast<double>(v[1]), 0.01);
        } else if (dim == v.size() - 1) {
          current = arange(static_cast<double>(v[dim - 1]), evo_list.back() + 0.01, 0.01);
        } else {
          current = arange(static_cast<double>(v[dim - 1]), static_cast<double>(v[dim + 1]) + 0.01, 0.01);
        }
        if (!current.empty()) v[dim] = static_cast<float>(current[random.below(current.size())]);
      }
    }
  }
  return v;
}

std::optional<Array> crossover(const Array& p1, const Array& p2, const History& history, RandomStream& random) {
  if (allclose(p1, p2)) return std::nullopt;
  Array v = p1;
  for (int t = 0; t < 20; ++t) {
    for (std::size_t i = 0; i < v.size(); ++i) {
      if (random.uniform() < 0.3) {
        if (random.uniform() < 0.5) v[i] = p2[i];
        if (rejected(v, history)) continue;
        return v;
      }
    }
  }
  return std::nullopt;
}

Array narrow(const std::vector<double>& v) { return {v.begin(), v.end()}; }
std::vector<double> widen(const Array& v) { return {v.begin(), v.end()}; }

}  // namespace

TEST_CASE("release-ga proposes what the original's rules give, all 1344 of them") {
  const auto [dim, scale, original] =
      GENERATE(std::tuple{64, 8.0, 256}, std::tuple{16, 2.0, 2048}, std::tuple{128, 32.0, 4096});
  const Space space = make_space(dim, scale, original);
  ReleaseGa strategy(space, {42, 3});
  const Told told = run(strategy, scale);
  REQUIRE(told.candidates.size() == 1344);

  const auto stream = [](int generation, std::size_t k, Purpose purpose) {
    return RandomStream(42, 3, static_cast<std::uint32_t>(generation + 1), static_cast<std::uint32_t>(k), purpose);
  };
  struct Member {
    Array v;
    double objective;
  };
  History history;
  std::vector<Member> population;
  std::size_t next = 0;
  const auto add = [&](const Array& v) {
    REQUIRE(told.candidates[next].factors == widen(v));
    history.push_back(v);
    population.push_back({v, told.objectives[next].first()});
    ++next;
  };
  const Array first = narrow(told.candidates[0].factors);
  for (std::size_t k = 0; k < 64; ++k) {
    RandomStream random = stream(0, k, Purpose::seed_population);
    add(k == 0 ? first : mutate(first, scale, history, random));
  }
  for (int generation = 1; generation <= 40; ++generation) {
    std::stable_sort(population.begin(), population.end(), [](auto& a, auto& b) { return a.objective < b.objective; });
    population.resize(32);
    const std::vector<Member> parents = population;
    for (std::size_t k = 0; k < 32; ++k) {
      RandomStream choice = stream(generation, k, Purpose::parent_choice);
      std::size_t a = choice.below(32);
      std::optional<Array> child;
      if (k >= 16) {
        std::size_t b = choice.below(31);
        if (b >= a) ++b;
        if (b < a) std::swap(a, b);
        RandomStream random = stream(generation, k, Purpose::crossover);
        child = crossover(parents[a].v, parents[b].v, history, random);
      }
      RandomStream random = stream(generation, k, Purpose::mutation);
      if (!child) child = mutate(parents[a].v, scale, history, random);
      add(*child);
    }
  }
  CHECK(next == 1344);
}

TEST_CASE("release-ga's first individual is the linear blend in float32") {
  // numpy 1.26 and torch 2, evolution/search.py with head size 16, base 10000, original length 256, scale 8, betas 32
  // and 1: low = floor(16 ln(256/(64 pi)) / (2 ln 1e4)) = 0, high = ceil(16 ln(256/(2 pi)) / (2 ln 1e4)) = 4.
  const Space space = make_space(16, 8.0, 256);
  const std::vector<double> expected{1.0, 2.75, 4.5, 6.25, 8.0, 8.0, 8.0, 8.0};
  CHECK(release_first_individual(space) == expected);

  Space mistral = make_space(128, 32.0);
  mistral.release_beta_fast = 128;
  mistral.release_beta_slow = 2;
  const auto factors = release_first_individual(mistral);
  CHECK(factors.front() == 1.0);
  CHECK(factors.back() == 32.0);
  CHECK(is_non_decreasing(factors));
  for (const double factor : factors) CHECK(factor == static_cast<double>(static_cast<float>(factor)));
}

TEST_CASE("release-ga keeps its order, its bound and its counts") {
  for (const std::int64_t dim : {8, 34, 128}) {
    for (const double scale : {1.0, 1.5, 32.0}) {
      if (scale == 1.0 && dim > 100) continue;  // slow: sweeps end at their cap
      ReleaseGa strategy(make_space(dim, scale), {7, 0});
      const Told told = run(strategy, scale);
      REQUIRE(told.candidates.size() == 1344);
      int crossovers = 0, one_gene = 0, repeated = 0;
      for (std::size_t n = 0; n < told.candidates.size(); ++n) {
        const Candidate& c = told.candidates[n];
        REQUIRE(is_non_decreasing(c.factors));
        REQUIRE(c.factors.front() >= 1.0);
        REQUIRE(c.factors.back() <= 1.0 + scale + 0.02);
        REQUIRE(c.id == static_cast<std::int64_t>(n) + 3);
        REQUIRE(c.generation == (n < 64 ? 0 : static_cast<int>((n - 64) / 32) + 1));
        for (std::size_t m = 0; m < n; ++m) repeated += release_allclose(told.candidates[m].factors, c.factors);
        if (n > 0) REQUIRE((c.parents[0] >= 3 && c.parents[0] < c.id));
        if (c.origin != Origin::crossover) continue;
        ++crossovers;
        const Candidate& better = told.candidates[static_cast<std::size_t>(c.parents[0] - 3)];
        int changed = 0;
        for (std::size_t i = 0; i < c.factors.size(); ++i) changed += c.factors[i] != better.factors[i];
        one_gene += changed == 1;
      }
      if (scale == 1.0) continue;  // the original would look for something new almost for ever
      CHECK(repeated == 0);
      CHECK(crossovers > 100);
      CHECK(one_gene * 2 > crossovers);  // the defect that makes it what it is
    }
  }
}

TEST_CASE("release-ga gives up where the original would loop for ever") {
  // A history that holds everything: all values are within its tolerance.
  ReleaseHistory history;
  const std::vector<double> parent{1.0, 1.0};
  for (int a = 0; a <= 320; ++a) {
    for (int b = 0; b <= 320; ++b) history.add(std::vector<double>{1.0 + 0.01 * a, 1.0 + 0.01 * b});
  }
  RandomStream random(1, 0, 0, 0, Purpose::mutation);
  CHECK(is_non_decreasing(release_mutate(parent, 1.0, history, random)));
}
