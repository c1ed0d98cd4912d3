// Spaces that a strategy cannot express are refused by name; all others are searched within what they say.
#include "search/strategy_requirements.hpp"

#include <cmath>

#include "kernels/error.hpp"
#include "search/factor_order.hpp"
#include "search/strategy.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

TEST_CASE("each baseline refuses what its original cannot search") {
  struct Case {
    const char* name;
    bool bounds_longrope, bounds_longrope2, tolerant, free, start_tokens, attention;
  };
  const Case cases[] = {
      {"paper-ga", true, false, false, false, true, false}, {"release-ga", true, false, false, false, false, false},
      {"piece-ga", true, false, true, true, false, false},  {"longrope2-ga", false, true, false, false, false, false},
      {"random", true, true, true, true, true, true},       {"nsga2", true, true, true, true, true, true},
  };
  for (const Case& c : cases) {
    const auto allowed = [&](const Space& space, const char* word) {
      const std::string message = message_of<InputError>([&] { make_strategy(c.name, space, {}); });
      if (!message.empty()) {
        CHECK(contains(message, c.name));
        CHECK(contains(message, word));
        CHECK(!contains(message, "\n"));
      }
      return message.empty();
    };
    const Space space = original_space(c.name, make_space(32, 8.0, 256));
    CHECK(allowed(space, ""));
    Space other = space;
    other.bounds = FactorBounds::longrope;
    CHECK(allowed(other, "bounds") == c.bounds_longrope);
    other.bounds = FactorBounds::longrope2;
    CHECK(allowed(other, "bounds") == c.bounds_longrope2);
    other = space;
    other.monotonicity = Monotonicity::tolerant;
    CHECK(allowed(other, "tolerance") == c.tolerant);
    other.monotonicity = Monotonicity::free;
    CHECK(allowed(other, "free") == c.free);
    other = space;
    other.search_start_tokens = true;
    CHECK(allowed(other, "start_tokens") == c.start_tokens);
    other = space;
    other.search_attention_factor = true;
    CHECK(allowed(other, "attention") == c.attention);
    // Sources of the critical dimension are all expressed, or of no meaning within the bounds.
    for (const auto critical : {CriticalDimension::computed, CriticalDimension::fixed, CriticalDimension::searched}) {
      other = space;
      other.critical = critical;
      other.critical_pair = 5;
      CHECK(allowed(other, ""));
    }
  }
  CHECK(contains(message_of<InputError>([] { make_strategy("piece-ga", make_space(6, 8.0), {}); }), "rotary_dim"));
  CHECK(message_of<InputError>([] { make_strategy("piece-ga", make_space(8, 8.0), {}); }).empty());
}

TEST_CASE("original_space sets what the original searches and leaves the rest") {
  const Space space = make_space(32, 8.0, 256);
  CHECK(original_space("longrope2-ga", space).bounds == FactorBounds::longrope2);
  CHECK(original_space("longrope2-ga", space).critical == CriticalDimension::searched);
  Space other = space;
  other.bounds = FactorBounds::longrope2;
  CHECK(original_space("paper-ga", other).bounds == FactorBounds::longrope);
  CHECK(original_space("random", other).bounds == FactorBounds::longrope2);
  CHECK(original_space("random", other).critical == CriticalDimension::computed);
}

TEST_CASE("order within a tolerance") {
  Space space = make_space(6, 8.0);
  const std::vector<double> flat{1.0, 1.0, 2.0}, drop{1.0, 3.0, 2.995}, fall{1.0, 3.0, 2.0},
      bad{1.0, std::nan(""), 2.0};
  CHECK((in_order(space, flat) && !in_order(space, drop) && !in_order(space, fall) && !in_order(space, bad)));
  space.monotonicity = Monotonicity::tolerant;
  CHECK((in_order(space, flat) && in_order(space, drop) && !in_order(space, fall) && !in_order(space, bad)));
  space.monotonicity = Monotonicity::free;
  CHECK((in_order(space, flat) && in_order(space, drop) && in_order(space, fall)));
}

TEST_CASE("factors relative to a base come back as they were, and flat parts stay flat") {
  Space space = make_space(128, 8.0);
  for (int i = 0; i < 64; ++i) space.base_factors.push_back(std::pow(31.7, i / 63.0));
  int off = 0;
  for (int k = 100; k <= 1000; ++k) {
    for (const double value : {k / 100.0, static_cast<double>(static_cast<float>(k * 0.7123))}) {
      const std::vector<double> table(64, value);
      const auto absolute = space.absolute(table);
      REQUIRE(space.relative(absolute) == table);
      for (std::size_t i = 0; i < 64; ++i) off += absolute[i] / space.base_factors[i] != value;
    }
  }
  CHECK(off > 100);  // what division alone would do
}
