// nsga2 on an analytic problem of two objectives, against random candidates; its selection against brute force.
#include "search/nsga2.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "search/factor_order.hpp"
#include "search/pareto.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;
using namespace longrope::search::test;

namespace {

/// Mean squared log distances to two tables with flat ends, as YaRN's has, which rise at different pairs: the best
/// compromises lie between the two, as on the fronts of the ZDT problems.
std::vector<double> two_ramps(const std::vector<double>& factors, double scale) {
  std::vector<double> objectives;
  const double n = static_cast<double>(factors.size());
  for (const double middle : {0.35, 0.5}) {
    double sum = 0.0;
    for (std::size_t i = 0; i < factors.size(); ++i) {
      const double ramp = std::clamp((static_cast<double>(i) / n - middle) / 0.2 + 0.5, 0.0, 1.0);
      const double distance = std::log(factors[i]) - ramp * std::log(1.1 * scale);
      sum += distance * distance;
    }
    objectives.push_back(1.0 + sum / n);
  }
  return objectives;
}

template <typename Evaluate>
Told search(Strategy& strategy, Evaluate evaluate) {
  Told told;
  for (;;) {
    const auto candidates = strategy.ask(static_cast<std::int64_t>(told.candidates.size()), 1 << 20);
    if (candidates.empty()) return told;
    std::vector<Outcome> outcomes;
    for (const Candidate& c : candidates) {
      Outcome outcome;
      outcome.objectives = evaluate(c);
      outcomes.push_back(std::move(outcome));
    }
    strategy.tell(candidates, outcomes);
    told.candidates.insert(told.candidates.end(), candidates.begin(), candidates.end());
    told.objectives.insert(told.objectives.end(), outcomes.begin(), outcomes.end());
  }
}

double volume_of(const Told& told, std::size_t count) {
  std::vector<std::vector<double>> points;
  for (std::size_t n = 0; n < count; ++n) points.push_back(told.objectives[n].objectives);
  return hypervolume(points, std::vector<double>{2.0, 2.0});
}

}  // namespace

TEST_CASE("nsga2's front grows in hypervolume and is better than the random one") {
  const double scale = 8.0;
  const Space space = make_space(64, scale, 256);
  const auto evaluate = [&](const Candidate& c) { return two_ramps(c.factors, scale); };
  for (const std::uint64_t seed : {1, 2, 3}) {
    const StrategyOptions options{seed, 0, 200, 2};
    auto nsga2 = make_strategy("nsga2", space, options), random = make_strategy("random", space, options);
    const Told ours = search(*nsga2, evaluate), theirs = search(*random, evaluate);
    REQUIRE(ours.candidates.size() == 1600);
    REQUIRE(theirs.candidates.size() == 1600);
    CHECK(volume_of(ours, 1600) > volume_of(ours, 640));
    CHECK(volume_of(ours, 640) > volume_of(ours, 64));
    UNSCOPED_INFO(volume_of(ours, 64) << " " << volume_of(ours, 640) << " " << volume_of(ours, 1600));
    CHECK(volume_of(ours, 1600) > volume_of(theirs, 1600));
  }
}

TEST_CASE("nsga2 with one objective improves on its seeds") {
  const double scale = 8.0;
  const Space space = make_space(64, scale);
  auto strategy = make_strategy("nsga2", space, {42, 0, 168, 1});
  const Told told = run(*strategy, scale);
  double seeds = INFINITY, best = INFINITY;
  for (std::size_t n = 0; n < told.objectives.size(); ++n) {
    best = std::min(best, told.objectives[n].first());
    if (n < 3) seeds = std::min(seeds, told.objectives[n].first());
  }
  CHECK(best - 1.0 < 0.5 * (seeds - 1.0));
}

TEST_CASE("nsga2 keeps who is best by kind, front and crowding") {
  RandomStream random(9, 0, 0, 0, Purpose::random);
  for (int round = 0; round < 200; ++round) {
    const std::size_t objectives = 1 + random.below(3);
    std::vector<Individual> told(20);
    for (Individual& individual : told) {
      for (std::size_t k = 0; k < objectives; ++k) {
        const bool bad = random.below(25) == 0;
        individual.objectives.push_back(bad ? std::nan("") : static_cast<double>(random.below(10)));
      }
      individual.objective = individual.objectives[0];
      individual.raced_out = random.below(6) == 0;
    }
    std::vector<std::size_t> candidates;
    for (std::size_t i = 0; i < told.size(); ++i) {
      if (random.below(5) != 0) candidates.push_back(i);
    }
    const auto kind = [&](std::size_t i) {
      for (const double x : told[i].objectives) {
        if (std::isnan(x)) return 2;
      }
      return told[i].raced_out ? 1 : 0;
    };
    const auto beats = [&](std::size_t a, std::size_t b) {
      if (kind(a) != kind(b)) return kind(a) < kind(b);
      if (kind(a) == 2) return false;
      bool nowhere_worse = true, somewhere_better = false;
      for (std::size_t k = 0; k < objectives; ++k) {
        nowhere_worse = nowhere_worse && told[a].objectives[k] <= told[b].objectives[k];
        somewhere_better = somewhere_better || told[a].objectives[k] < told[b].objectives[k];
      }
      return nowhere_worse && somewhere_better;
    };
    // Depth of a candidate: the longest chain of candidates that beat each other and it.
    std::vector<int> depth(told.size(), 0);
    for (std::size_t pass = 0; pass < candidates.size(); ++pass) {
      for (const std::size_t b : candidates) {
        for (const std::size_t a : candidates) {
          if (beats(a, b)) depth[b] = std::max(depth[b], depth[a] + 1);
        }
      }
    }
    const auto all = nsga2_survivors(told, candidates, 1000);
    REQUIRE(std::set<std::size_t>(all.begin(), all.end()) ==
            std::set<std::size_t>(candidates.begin(), candidates.end()));
    REQUIRE(all.size() == candidates.size());
    for (std::size_t i = 1; i < all.size(); ++i) {
      REQUIRE(kind(all[i - 1]) <= kind(all[i]));
      REQUIRE(depth[all[i - 1]] <= depth[all[i]]);
    }
    const std::size_t count = random.below(20);
    const auto some = nsga2_survivors(told, candidates, count);
    REQUIRE(some == std::vector<std::size_t>(all.begin(),
                                             all.begin() + static_cast<std::ptrdiff_t>(std::min(count, all.size()))));
  }
  // Within a front the ends come first and the crowded ones last.
  std::vector<Individual> told(5);
  const std::vector<double> x{0.0, 0.1, 0.2, 0.6, 1.0};
  for (std::size_t i = 0; i < 5; ++i) told[i].objectives = {x[i], 1.0 - x[i]};
  CHECK(nsga2_survivors(told, {4, 3, 2, 1, 0}, 5) == std::vector<std::size_t>{0, 4, 3, 2, 1});
}

TEST_CASE("nsga2 stays in the space that is declared") {
  const double scale = 8.0;
  for (const auto bounds : {FactorBounds::longrope, FactorBounds::longrope2}) {
    for (const auto order : {Monotonicity::monotone, Monotonicity::tolerant, Monotonicity::free}) {
      for (const auto critical : {CriticalDimension::fixed, CriticalDimension::searched}) {
        Space space = make_space(64, scale, 256);
        space.bounds = bounds;
        space.monotonicity = order;
        space.critical = critical;
        space.critical_pair = 9;
        space.search_start_tokens = space.search_attention_factor = true;
        space.attention_factor = 1.2;
        auto strategy = make_strategy("nsga2", space, {42, 0, 100, 2});
        const auto evaluate = [&](const Candidate& c) {
          if (c.id % 13 == 5) return std::vector<double>{std::nan(""), 1.0};
          return two_ramps(c.factors, scale);
        };
        const Told told = search(*strategy, evaluate);
        REQUIRE(told.candidates.size() == 832);
        const std::int64_t from = critical == CriticalDimension::fixed ? 9 : space.critical_pair_of(10);
        const std::int64_t to = critical == CriticalDimension::fixed ? 9 : space.critical_pair_of(1);
        std::set<std::int32_t> tokens;
        std::set<double> attention;
        std::set<std::int64_t> criticals;
        int crossovers = 0, disordered = 0;
        for (const Candidate& c : told.candidates) {
          REQUIRE(in_order(space, c.factors));
          disordered += !is_non_decreasing(c.factors);
          bool fits = bounds == FactorBounds::longrope;
          for (const double x : c.factors) {
            REQUIRE((1.0 <= x && x <= (bounds == FactorBounds::longrope ? 10.0 : 16.0) + 1e-9));
          }
          for (std::int64_t at = from; !fits && at <= to; ++at) {
            bool inside = true;
            for (std::int64_t i = 0; i < 32; ++i) {
              const double x = c.factors[static_cast<std::size_t>(i)];
              inside = inside && (i < at ? x <= scale + 1e-9 : scale <= x);
            }
            if (inside) criticals.insert(at);
            fits = inside;
          }
          REQUIRE(fits);
          tokens.insert(c.start_tokens);
          attention.insert(c.attention_factor);
          REQUIRE((0.5 <= c.attention_factor && c.attention_factor <= 2.0));
          crossovers += c.origin == Origin::crossover;
        }
        CHECK(tokens.size() > 10);
        CHECK(attention.size() > 100);
        CHECK(crossovers > 50);
        CHECK((disordered > 0) == (order != Monotonicity::monotone));
        if (bounds == FactorBounds::longrope2 && critical == CriticalDimension::searched) CHECK(criticals.size() > 2);
      }
    }
  }
}
