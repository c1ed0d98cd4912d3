#include "search/scalarisation.hpp"

#include <cmath>
#include <numeric>

#include "tests/support/catch.hpp"

using namespace longrope::search;

namespace {

Individual told(std::vector<double> objectives, bool raced_out = false) {
  Individual individual;
  individual.objective = objectives.front();
  individual.objectives = std::move(objectives);
  individual.raced_out = raced_out;
  return individual;
}

}  // namespace

TEST_CASE("weights of a cycle sum to one, begin equal and favour each objective twice") {
  for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
    std::vector<int> favoured(n, 0);
    for (std::int32_t generation = 0; generation < static_cast<std::int32_t>(2 * n + 1); ++generation) {
      const std::vector<double> weights = weights_of_generation(generation, n);
      REQUIRE(weights.size() == n);
      CHECK(std::accumulate(weights.begin(), weights.end(), 0.0) == Approx(1.0));
      for (std::size_t k = 0; k < n; ++k) {
        CHECK(weights[k] > 0.0);
        if (weights[k] > 0.7) ++favoured[k];
      }
    }
    for (const int count : favoured) CHECK(count == (n == 1 ? 3 : 2));
  }
}

TEST_CASE("scalarised objectives") {
  const std::vector<Individual> one{told({10.0}), told({std::nan("")}), told({0.0}), told({20.0})};
  const std::vector<double> weight{1.0};
  const std::vector<double> logs = scalarise(one, weight);
  CHECK(logs[0] == Approx(std::log(10.0)));
  CHECK(std::isnan(logs[1]));
  CHECK(std::isnan(logs[2]));
  CHECK(logs[3] > logs[0]);

  const std::vector<double> weights{0.25, 0.75};
  const std::vector<Individual> two{told({10.0, 8.0}), told({20.0, 4.0}), told({40.0, 8.0}),
                                    told({std::nan(""), 1.0}, true), told({1.0, 1.0}, true)};
  const std::vector<double> values = scalarise(two, weights);
  // The ideal is (10, 4): estimates of what was raced out do not set it.
  CHECK(values[0] == Approx(0.75 * std::log(2.0) + 0.1 * 0.75 * std::log(2.0)));
  CHECK(values[1] == Approx(0.25 * std::log(2.0) * 1.1));
  CHECK(values[2] == Approx(0.75 * std::log(2.0) + 0.1 * (0.25 * std::log(4.0) + 0.75 * std::log(2.0))));
  CHECK(values[2] > values[0]);  // it is dominated
  CHECK(std::isnan(values[3]));
}
