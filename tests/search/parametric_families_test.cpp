#include "search/parametric_families.hpp"

#include <cmath>
#include <numbers>

#include "model/scaling_methods.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;

TEST_CASE("the YaRN family contains the published curve") {
  const Space space = test::make_space(64, 8.0, 256);
  // YaRN without rounding of the ramp's ends, the ramp by turns within L0 instead of by pair.
  model::YarnOptions yarn;
  yarn.truncate = false;
  const std::vector<double> published = model::yarn_factors(space.geometry, 8.0, yarn);
  const Eigen::VectorXd ours = yarn_family(space, {});
  REQUIRE(ours.size() == 32);
  for (Eigen::Index i = 0; i < 32; ++i)
    CHECK(std::exp(ours[i]) == Approx(published[static_cast<std::size_t>(i)]).epsilon(1e-12));
}

TEST_CASE("the free parameters do what they are called") {
  const Space space = test::make_space(64, 8.0, 256);
  const auto turns = [&](Eigen::Index pair) {
    return 256.0 * std::pow(10000.0, -static_cast<double>(pair) / 32.0) / (2.0 * std::numbers::pi);
  };
  const Eigen::VectorXd curve = yarn_family(space, {1.2, 10.0, 0.5, 2.0, 0.0});
  for (Eigen::Index i = 0; i < 32; ++i) {
    const double ramp =
        std::min(1.0, std::max(0.0, std::log(turns(i) / 10.0) / std::log(0.5 / 10.0)));  // linear in the pair
    const double frequency = ramp * ramp / (1.2 * 8.0) + 1.0 - ramp * ramp;
    CHECK(std::exp(curve[i]) == Approx(1.0 / frequency).epsilon(1e-10));
    if (turns(i) >= 10.0) CHECK(curve[i] == 0.0);
    if (turns(i) <= 0.5) CHECK(std::exp(curve[i]) == Approx(1.2 * 8.0));
  }
  const Eigen::VectorXd cut = yarn_family(space, {1.2, 10.0, 0.5, 2.0, 2.0});
  for (Eigen::Index i = 0; i < 32; ++i)
    CHECK(std::exp(cut[i]) == Approx(turns(i) < 2.0 ? 1.2 * 8.0 : std::exp(curve[i])));
  const Eigen::VectorXd form = longrope2_family(space, 1.1, 13);
  for (Eigen::Index i = 0; i < 32; ++i)
    CHECK(std::exp(form[i]) == Approx(std::pow(8.8, std::min(1.0, static_cast<double>(i) / 13.0))));
  CHECK(longrope2_family(space, 1.0, 0).isApproxToConstant(std::log(8.0)));
}

TEST_CASE("a ramp with a step rises in powers of the scale, jumps at its turns, and is continuous in them") {
  const Space space = test::make_space(64, 8.0, 256);
  const auto pair_that_turns = [](double turns) {  // by bisection of the definition
    double low = -100.0, high = 200.0;
    for (int i = 0; i < 200; ++i) {
      const double middle = 0.5 * (low + high);
      (256.0 * std::pow(10000.0, -middle / 32.0) / (2.0 * std::numbers::pi) > turns ? low : high) = middle;
    }
    return low;
  };
  const RampStepFamily parameters{20.0, 1.5, 0.6, 0.5, 1.1};
  const double low = pair_that_turns(20.0), high = pair_that_turns(0.5);
  const Eigen::VectorXd curve = ramp_step_family(space, parameters);
  REQUIRE(curve.size() == 32);
  int before = 0, ramp = 0, after = 0;
  for (Eigen::Index i = 0; i < 32; ++i) {
    const double pair = static_cast<double>(i);
    if (pair <= low) {
      CHECK(curve[i] == 0.0);
      ++before;
    } else if (pair <= high - 0.5) {
      CHECK(std::exp(curve[i]) == Approx(std::pow(8.0, 0.6 * std::pow((pair - low) / (high - low), 1.5))));
      ++ramp;
    } else if (pair >= high + 0.5) {
      CHECK(std::exp(curve[i]) == Approx(1.1 * 8.0));
      ++after;
    }
    if (i > 0) CHECK(curve[i] >= curve[i - 1]);
  }
  CHECK(before + ramp + after == 31);
  CHECK(before >= 2);
  CHECK(ramp >= 10);
  CHECK(after >= 15);

  for (double turns = 0.3; turns < 2.0; turns *= 1.01) {  // no factor leaps
    RampStepFamily one = parameters, other = parameters;
    one.step = turns;
    other.step = turns * std::pow(10000.0, -0.01 / 32.0);  // a hundredth of a pair later
    const double moved = (ramp_step_family(space, one) - ramp_step_family(space, other)).cwiseAbs().maxCoeff();
    CHECK(moved > 0.0);
    CHECK(moved < 0.02 * std::log(8.8));
  }
}
