#include "search/isotonic.hpp"

#include <algorithm>
#include <limits>

#include "search/random.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;

namespace {

/// The minimax formula (Robertson, Wright, Dykstra, 1988, theorem 1.4.4): max over a <= i of min over b >= i of the
/// mean of values[a..b].
std::vector<double> isotonic_by_minimax(const std::vector<double>& values) {
  std::vector<double> out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    double outer = -std::numeric_limits<double>::infinity();
    for (std::size_t a = 0; a <= i; ++a) {
      double inner = std::numeric_limits<double>::infinity();
      for (std::size_t b = i; b < values.size(); ++b) {
        double sum = 0.0;
        for (std::size_t k = a; k <= b; ++k) sum += values[k];
        inner = std::min(inner, sum / static_cast<double>(b - a + 1));
      }
      outer = std::max(outer, inner);
    }
    out.push_back(outer);
  }
  return out;
}

}  // namespace

TEST_CASE("isotonic regression agrees with the minimax formula") {
  for (std::uint32_t trial = 0; trial < 60; ++trial) {
    RandomStream random(1, 0, trial, 0, Purpose::random);
    std::vector<double> values(1 + random.below(33));
    for (double& value : values) value = trial % 3 == 0 ? static_cast<double>(random.below(4)) : random.normal();
    const std::vector<double> got = isotonic(values), want = isotonic_by_minimax(values);
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(want[i]).margin(1e-12));
    CHECK(std::is_sorted(got.begin(), got.end()));
  }
}

TEST_CASE("isotonic regression leaves ordered values as they are") {
  const std::vector<double> values{-1.0, 0.0, 0.0, 3.5};
  CHECK(isotonic(values) == values);
  CHECK(isotonic(std::vector<double>{}).empty());
}
