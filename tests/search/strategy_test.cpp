// What holds for every strategy.
#include "search/strategy.hpp"

#include <cmath>
#include <stdexcept>

#include "kernels/error.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

namespace {

/// The baselines have budgets of their own; what schedules by the budget gets a small one.
std::int64_t evaluations_of(const std::string& name) {
  return name == "auto" || name == "cma" || name == "knots" || name == "lq-cma" ? 70 : 1344;
}

std::unique_ptr<Strategy> make(const std::string& name, std::uint64_t seed = 42) {
  return make_strategy(name, make_space(32, 8.0, 256), {.seed = seed, .budget = evaluations_of(name)});
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
    CHECK(a.candidates[10].factors != c.candidates[10].factors);
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
      CHECK(steps >= (evaluations_of(name) == 1344 ? 41 : 4));
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
    CHECK(asked == evaluations_of(name));
  }
}
