// What holds for every strategy.
#include "search/strategy.hpp"

#include <cmath>
#include <stdexcept>

#include "kernels/error.hpp"
#include "search/generational_strategy.hpp"
#include "search/random.hpp"
#include "search/strategy_requirements.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

namespace {

bool is_ours(const std::string& name) { return name == "auto" || name == "cma" || name == "knots" || name == "lq-cma"; }

/// The baselines have counts of their own, or end at a multiple of the budget, as ours do: those get a small one.
std::int64_t budget_of(const std::string& name) { return is_ours(name) ? 9 : 168; }

std::unique_ptr<Strategy> make(const std::string& name, std::uint64_t seed = 42) {
  return make_strategy(name, original_space(name, make_space(32, 8.0, 256)), {.seed = seed, .budget = budget_of(name)});
}

void require_same(const Told& a, const Told& b) {
  REQUIRE(a.candidates.size() == b.candidates.size());
  for (std::size_t n = 0; n < a.candidates.size(); ++n) REQUIRE(same(a.candidates[n], b.candidates[n]));
}

}  // namespace

TEST_CASE("the same seed searches the same, another seed another way") {
  for (const std::string& name : strategy_names()) {
    const Told a = run(*make(name), 8.0), b = run(*make(name), 8.0), c = run(*make(name, 43), 8.0);
    require_same(a, b);
    CHECK(!same(a.candidates[10], c.candidates[10]));
  }
}

TEST_CASE("where asks end does not change the search") {
  for (const std::string& name : strategy_names()) {
    const Told whole = run(*make(name), 8.0, 1 << 20, true);
    for (const std::int64_t limit : {1, 7, 33}) require_same(whole, run(*make(name), 8.0, limit, true));
  }
}

TEST_CASE("a strategy restored after any tell goes on to the same bits") {
  for (const std::string& name : strategy_names()) {
    for (const std::int64_t limit : {1 << 20, 23}) {
      const Told whole = run(*make(name), 8.0, limit, true);
      Told told;
      auto strategy = make(name);
      int steps = 0;
      for (;;) {
        const std::string state = strategy->save();
        CHECK(state.size() < 1000);
        strategy = make(name);  // a new one every time
        strategy->load(state, told.candidates, told.objectives);
        REQUIRE(strategy->save() == state);
        if (!step(*strategy, told, 8.0, limit, true)) break;
        ++steps;
      }
      CHECK(steps >= (is_ours(name) ? 4 : 21));
      require_same(whole, told);
    }
  }
}

TEST_CASE("states that do not belong are refused") {
  auto strategy = make("paper-ga");
  Told told;
  REQUIRE(step(*strategy, told, 8.0, 100));
  REQUIRE(step(*strategy, told, 8.0, 20));
  const std::string state = strategy->save();
  const auto load = [&](const std::string& name, const std::string& text, const Told& history) {
    return message_of<InputError>([&] { make(name)->load(text, history.candidates, history.objectives); });
  };
  CHECK(load("paper-ga", state, told).empty());
  CHECK(contains(load("release-ga", state, told), "paper-ga"));
  for (const char* text : {"", "{", "[]", "null", "{\"strategy\":\"paper-ga\"}", "\xff\xfe"})
    CHECK(contains(load("paper-ga", text, told), "damaged"));
  for (const char* key : {"generation", "done", "told"}) {
    for (const char* value : {"0", "-1", "5", "1e30", "9223372036854775807", "\"x\"", "null"}) {
      std::string text = state;
      const std::size_t start = text.find(':', text.find(std::string("\"") + key + "\"")) + 1;
      text.replace(start, text.find_first_of(",}", start) - start, value);
      if (text != state) CHECK(contains(load("paper-ga", text, told), "damaged"));
    }
  }
  Told other = told;
  other.objectives[5].objectives[0] += 1e-9;
  CHECK(contains(load("paper-ga", state, other), "digest"));
  other = told;
  other.candidates[70].factors[3] += 1e-9;
  CHECK(contains(load("paper-ga", state, other), "digest"));
  other = told;
  other.candidates.pop_back();
  other.objectives.pop_back();
  CHECK(contains(load("paper-ga", state, other), "damaged"));
}

TEST_CASE("asks and tells out of turn, and spaces that cannot be searched") {
  auto strategy = make("paper-ga");
  auto asked = strategy->ask(0, 10);
  CHECK_THROWS_AS(strategy->ask(10, 10), std::logic_error);
  CHECK_THROWS_AS(strategy->save(), std::logic_error);
  const std::vector<Outcome> objectives(10, 1.0);
  CHECK_THROWS_AS(strategy->tell(asked, std::span(objectives).first(9)), std::logic_error);
  auto other = asked;
  other[4].factors[0] += 1.0;
  CHECK_THROWS_AS(strategy->tell(other, objectives), std::logic_error);
  strategy->tell(asked, objectives);

  CHECK(contains(message_of<InputError>([] { make("tabu"); }), "paper-ga"));
  const auto refused = [](const Space& space) {
    return !message_of<InputError>([&] { make_strategy("paper-ga", space, {}); }).empty();
  };
  Space space = make_space(32, 8.0);
  CHECK(!refused(space));
  space.scale = 0.5;
  CHECK(refused(space));
  space.scale = std::nan("");
  CHECK(refused(space));
  space = make_space(32, 8.0);
  space.yarn_factors.pop_back();
  CHECK(refused(space));
  space = make_space(32, 8.0);
  space.ntk_factors[0] = std::nan("");
  CHECK(refused(space));
  space = make_space(32, 8.0);
  space.geometry.rotary_dim = 0;
  CHECK(refused(space));
}

TEST_CASE("a base table that factors multiply changes nothing about the search") {
  for (const std::string& name : strategy_names()) {
    Space plain = original_space(name, make_space(32, 8.0, 256));
    // A rounding error beside a grid value, as 3.9999999999999996, would come back as that value.
    for (auto* factors : {&plain.ntk_factors, &plain.yarn_factors}) {
      for (double& factor : *factors) factor = static_cast<double>(static_cast<float>(factor));
    }
    Space based = plain;
    for (int i = 0; i < 16; ++i) based.base_factors.push_back(std::pow(6.1, i / 15.0));
    auto a = make_strategy(name, plain, {42, 0, 60}), b = make_strategy(name, based, {42, 0, 60});
    // Ours choose by models of what was told, which amplify the last bit: their first generation only.
    const std::int64_t last = is_ours(name) ? 1 : 400;
    for (std::int64_t told = 0; told < last;) {
      const auto without = a->ask(told, 1000), with = b->ask(told, 1000);
      REQUIRE(without.size() == with.size());
      std::vector<Outcome> outcomes;
      for (std::size_t k = 0; k < with.size(); ++k) {
        REQUIRE(with[k].parents[0] == without[k].parents[0]);
        REQUIRE(with[k].parents[1] == without[k].parents[1]);
        for (std::size_t i = 0; i < 16; ++i) {
          const double product = without[k].factors[i] * based.base_factors[i];
          INFO(name << " candidate " << with[k].id << " pair " << i);
          REQUIRE(std::abs(with[k].factors[i] - product) <= 1e-14 * product);
        }
        // Of no meaning, but none is as good as another.
        RandomStream random(7, 0, 0, static_cast<std::uint32_t>(with[k].id), Purpose::random);
        outcomes.emplace_back(random.uniform());
      }
      a->tell(without, outcomes);
      b->tell(with, outcomes);
      told += static_cast<std::int64_t>(with.size());
    }
  }
}

TEST_CASE("several objectives, some NaN, some of candidates raced out: still one search") {
  const auto outcomes_of = [](const std::vector<Candidate>& candidates) {
    std::vector<Outcome> outcomes;
    for (const Candidate& c : candidates) {
      Outcome outcome;
      outcome.objectives = {bowl(c.factors, 8.0), bowl(c.factors, 3.0)};
      if (c.id % 11 == 4) outcome.objectives[c.id % 2] = std::nan("");
      outcome.raced_out = c.id % 5 == 2;
      outcomes.push_back(std::move(outcome));
    }
    return outcomes;
  };
  for (const std::string& name : strategy_names()) {
    const Space space = original_space(name, make_space(32, 8.0, 256));
    const StrategyOptions options{42, 0, is_ours(name) ? 9 : 60, 2};
    const auto search = [&](std::int64_t limit, bool restore) {
      Told told;
      auto strategy = make_strategy(name, space, options);
      for (;;) {
        const auto candidates = strategy->ask(static_cast<std::int64_t>(told.candidates.size()), limit);
        if (candidates.empty() || told.candidates.size() > 700) break;
        const auto outcomes = outcomes_of(candidates);
        strategy->tell(candidates, outcomes);
        told.candidates.insert(told.candidates.end(), candidates.begin(), candidates.end());
        told.objectives.insert(told.objectives.end(), outcomes.begin(), outcomes.end());
        if (!restore) continue;
        const std::string state = strategy->save();
        strategy = make_strategy(name, space, options);
        strategy->load(state, told.candidates, told.objectives);
      }
      return told;
    };
    const Told whole = search(1 << 20, false), pieces = search(29, true);
    const std::size_t count = std::min(whole.candidates.size(), pieces.candidates.size());
    CHECK(count >= (is_ours(name) ? 60 : 480));
    for (std::size_t n = 0; n < count; ++n) REQUIRE(same(whole.candidates[n], pieces.candidates[n]));
  }
}

TEST_CASE("a search goes on with a larger budget as if it had been there from the start") {
  for (const std::string& name : strategy_names()) {
    const Space space = original_space(name, make_space(32, 8.0, 256));
    const auto first = make(name);
    const auto second = make_strategy(name, space, {.seed = 42, .budget = 4 * budget_of(name)});
    Told told;
    for (int n = 0; n < 5; ++n) REQUIRE(step(*first, told, 8.0, 7, true));
    second->load(first->save(), told.candidates, told.objectives);
    Told same_told = told;
    for (int n = 0; n < 4; ++n) {
      REQUIRE(step(*first, told, 8.0, 7, true));
      REQUIRE(step(*second, same_told, 8.0, 7, true));
    }
    require_same(told, same_told);
  }
}

TEST_CASE("objectives that are all NaN end as well") {
  for (const std::string& name : strategy_names()) {
    auto strategy = make(name);
    std::int64_t asked = 0;
    for (;;) {
      const auto candidates = strategy->ask(asked, 1000);
      if (candidates.empty()) break;
      asked += static_cast<std::int64_t>(candidates.size());
      strategy->tell(candidates, std::vector<Outcome>(candidates.size(), std::nan("")));
    }
    if (is_ours(name)) {
      CHECK((asked >= kCandidatesPerBudget * budget_of(name) && asked < kCandidatesPerBudget * budget_of(name) + 64));
    } else {
      CHECK(asked == (name == "piece-ga" ? 128 + 21 * 64 : 1344));  // piece-ga sees that nothing improves
    }
  }
}
