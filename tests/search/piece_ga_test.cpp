// piece-ga against a second writing of the longrope branch's rules: one array {α, β, λ...}, materialized aranges.
#include "search/piece_ga.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <vector>

#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;
using namespace longrope::search::test;

namespace {

using Array = std::vector<double>;  // numpy float64: α, β, then the factors

Array arange(double start, double stop) {
  const double step = 0.01;
  const double length = std::ceil((stop - start) / step);
  Array values;
  if (!(length > 0)) return values;
  const double delta = (start + step) - start;
  for (int i = 0; i < static_cast<int>(length); ++i) values.push_back(i == 1 ? start + step : start + i * delta);
  return values;
}

double normal(double mean, RandomStream& random) {
  const double u = 1.0 - random.uniform(), v = random.uniform();
  return std::trunc(mean + 2.0 * std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
}

bool in(const Array& v, const std::vector<Array>& history) {
  return std::find(history.begin(), history.end(), v) != history.end();
}

bool increasing(const Array& v) {
  for (std::size_t i = 3; i < v.size(); ++i) {
    if (!(v[i] - v[i - 1] >= 0.0)) return false;
  }
  return true;
}

Array mutate(Array v, double scale, bool check_order, const std::vector<Array>& history, RandomStream& random) {
  const double last = static_cast<double>(v.size()) - 3;
  while (in(v, history) || (check_order && !increasing(v))) {
    if (!(random.uniform() < 0.3)) continue;
    double alpha = v[0], beta = v[1];
    if (random.uniform() < 0.5) {
      alpha = normal(alpha, random);
    } else {
      beta = normal(beta, random);
    }
    while (!(0 <= alpha && alpha < beta && beta <= last)) {
      if (random.uniform() < 0.5) {
        alpha = normal(alpha, random);
      } else {
        beta = normal(beta, random);
      }
    }
    v[0] = alpha;
    v[1] = beta;
    for (std::size_t dim = 2; dim < v.size() - 2; ++dim) {
      const double at = static_cast<double>(dim);
      if (at <= alpha + 2) {
        v[dim] = 1.0;
      } else if (at > beta + 2) {
        v[dim] = scale;
      } else {
        const Array list = arange(dim == 2 ? 1.0 : v[dim - 1], dim == 2 ? v[dim + 1] : v[dim + 1] + 0.01);
        if (!list.empty()) v[dim] = list[random.below(list.size())];
      }
    }
  }
  return v;
}

std::optional<Array> crossover(const Array& p1, const Array& p2, const std::vector<Array>& history,
                               RandomStream& random) {
  if (p1 == p2) return std::nullopt;
  Array v = p1;
  for (int t = 0; t < 40; ++t) {
    for (std::size_t i = 0; i < v.size(); ++i) {
      if (!(random.uniform() < 0.3)) continue;
      if (random.uniform() < 0.5) {
        if (i < 2) {
          v[0] = p2[0];
          v[1] = p2[1];
        } else {
          v[i] = p2[i];
        }
      }
      if (in(v, history) || v[0] > v[1] || !increasing(v)) continue;
      return v;
    }
  }
  return std::nullopt;
}

Array factors_of(const Array& v) { return {v.begin() + 2, v.end()}; }

/// Objectives that go on falling, so that nothing stops early, with ties.
double falling(const Candidate& c, double scale) {
  return bowl(c.factors, scale) - 0.001 * static_cast<double>(c.generation) + (c.id % 3 == 0 ? 0.01 : 0.0);
}

}  // namespace

TEST_CASE("piece-ga proposes what the original's rules give, all 5248 of them") {
  struct Case {
    int dim, original;
    double scale;
    Monotonicity order;
    double alpha, beta;  // of the first individual, worked out from YaRN's formula
  };
  // d ln(L0/(64 pi)) / (2 ln 1e4): 20.95 for 128 and 4096 (low 20), 45.03 without the 32 (high 46); 0.83 and 12.88 for
  // 64 and 256.
  const auto c =
      GENERATE(Case{128, 4096, 32.0, Monotonicity::monotone, 21, 46}, Case{128, 4096, 32.0, Monotonicity::free, 21, 46},
               Case{64, 256, 8.1, Monotonicity::monotone, 1, 13});
  Space space = make_space(c.dim, c.scale, c.original);
  space.monotonicity = c.order;
  PieceGa strategy(space, {42, 3});
  const auto stream = [](int generation, std::size_t k, Purpose purpose) {
    return RandomStream(42, 3, static_cast<std::uint32_t>(generation + 1), static_cast<std::uint32_t>(k), purpose);
  };
  const bool check = c.order == Monotonicity::monotone;

  struct Member {
    Array v;
    double objective;
  };
  std::vector<Array> history;
  std::vector<Member> population;
  std::int64_t asked = 0;
  int disorder = 0, moved = 0;
  std::vector<Array> made;
  const auto add = [&](const Array& v) {
    made.push_back(v);
    history.push_back(v);
    disorder += !increasing(v);
    moved += v[0] != c.alpha && v[1] != c.beta;
  };
  const auto tell = [&] {
    const auto candidates = strategy.ask(asked, 1 << 20);
    REQUIRE(candidates.size() == made.size());
    std::vector<Outcome> outcomes;
    for (std::size_t k = 0; k < made.size(); ++k) {
      REQUIRE(candidates[k].factors == factors_of(made[k]));
      outcomes.emplace_back(falling(candidates[k], c.scale));
      population.push_back({made[k], outcomes.back().first()});
    }
    strategy.tell(candidates, outcomes);
    asked += static_cast<std::int64_t>(made.size());
    made.clear();
  };

  Array first{c.alpha, c.beta};
  for (int i = 0; i < c.dim / 2; ++i) {
    const float low = static_cast<float>(c.alpha - 1), high = static_cast<float>(c.beta);
    const float mask = 1.0f - std::clamp((static_cast<float>(i) - low) / (high - low), 0.0f, 1.0f);
    const float blend = static_cast<float>(c.scale) * (1.0f - mask) + mask;
    first.push_back(i >= c.beta ? c.scale : static_cast<double>(blend));
  }
  for (std::size_t k = 0; k < 128; ++k) {
    RandomStream random = stream(0, k, Purpose::seed_population);
    add(k == 0 ? first : mutate(first, c.scale, check, history, random));
  }
  tell();
  for (int generation = 1; generation <= 80; ++generation) {
    std::stable_sort(population.begin(), population.end(), [](auto& a, auto& b) { return a.objective < b.objective; });
    population.resize(32);
    const std::vector<Member> parents = population;
    for (std::size_t k = 0; k < 64; ++k) {
      RandomStream choice = stream(generation, k, Purpose::parent_choice);
      std::size_t a = choice.below(32);
      std::optional<Array> child;
      if (k >= 32) {
        std::size_t b = choice.below(31);
        if (b >= a) ++b;
        if (b < a) std::swap(a, b);
        RandomStream random = stream(generation, k, Purpose::crossover);
        child = crossover(parents[a].v, parents[b].v, history, random);
      }
      RandomStream random = stream(generation, k, Purpose::mutation);
      if (!child) child = mutate(parents[a].v, c.scale, check, history, random);
      add(*child);
    }
    tell();
  }
  CHECK(asked == 5248);
  CHECK(strategy.ask(asked, 10).empty());
  CHECK((disorder > 0) == !check);  // what the branch lets through, and main does not
  CHECK(moved > 100);
}

TEST_CASE("piece-ga stops when twenty iterations gained less than 0.001, as the original counts them") {
  // Falling until generation `until`, then level: the entries compared are 20 apart, the later one the state before
  // the last but one generation.
  const auto evaluations = [](int until, double level) {
    PieceGa strategy(make_space(32, 8.0, 256), {1, 0});
    std::int64_t asked = 0;
    for (;;) {
      const auto candidates = strategy.ask(asked, 1 << 20);
      if (candidates.empty()) return asked;
      std::vector<Outcome> outcomes;
      for (const Candidate& c : candidates)
        outcomes.emplace_back(level - 0.1 * std::min(c.generation, static_cast<std::int32_t>(until)));
      strategy.tell(candidates, outcomes);
      asked += static_cast<std::int64_t>(candidates.size());
    }
  };
  // The original, by its own bookkeeping: best_valids = [1000]; every iteration appends, then compares at its end.
  const auto expected = [](int until, double level) {
    std::vector<double> best_valids{1000.0};
    double best = level;
    std::int64_t count = 128;
    for (int i = 0; i < 80; ++i) {
      best_valids.push_back(best < best_valids.back() ? best : best_valids.back());
      best = std::min(best, level - 0.1 * std::min(i + 1, until));
      count += 64;
      if (i >= 20 &&
          std::fabs(best_valids[static_cast<std::size_t>(i)] - best_valids[static_cast<std::size_t>(i - 20)]) < 0.001)
        break;
    }
    return count;
  };
  for (const int until : {0, 1, 5, 40, 57, 58, 59, 60, 80}) CHECK(evaluations(until, 50.0) == expected(until, 50.0));
  CHECK(evaluations(0, 50.0) == 128 + 22 * 64);
  CHECK(evaluations(0, 5000.0) == 128 + 21 * 64);  // nothing below the 1000 it starts from
  CHECK(evaluations(80, 50.0) == 5248);
}

TEST_CASE("piece-ga keeps its order and its pieces, also where the scale is 1 or a base is multiplied") {
  for (const double scale : {1.0, 2.7, 64.0}) {
    for (const std::int64_t dim : {8, 96}) {
      Space space = make_space(dim, scale, 512);
      for (std::int64_t i = 0; i < dim / 2; ++i) space.base_factors.push_back(1.0 + 0.37 * static_cast<double>(i));
      PieceGa strategy(space, {5, 0});
      std::int64_t asked = 0;
      while (asked < 1000) {
        const auto candidates = strategy.ask(asked, 1 << 20);
        if (candidates.empty()) break;
        std::vector<Outcome> outcomes;
        for (const Candidate& c : candidates) {
          REQUIRE(is_non_decreasing(c.factors));  // so is the base
          REQUIRE(c.factors.front() >= 1.0);
          REQUIRE(c.factors.back() == scale * space.base_factors.back());
          outcomes.emplace_back(c.id % 5 == 0 ? std::nan("") : 100.0 - static_cast<double>(c.generation));
        }
        strategy.tell(candidates, outcomes);
        asked += static_cast<std::int64_t>(candidates.size());
      }
      CHECK(asked >= 1000);
    }
  }
}
