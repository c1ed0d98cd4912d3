#include "search/log_factors.hpp"

#include <cmath>

#include "search/random.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;

namespace {

Eigen::VectorXd random_point(std::uint32_t trial, Eigen::Index n) {
  RandomStream random(9, 0, trial, 0, Purpose::random);
  Eigen::VectorXd point(n);
  for (double& x : point) x = 1.0 + 1.5 * random.normal();
  return point;
}

}  // namespace

TEST_CASE("a repaired point is allowed, stays where it is, and no allowed point is nearer") {
  Space space = test::make_space(32, 8.0, 256);
  const LogFactors factors(space);
  for (std::uint32_t trial = 0; trial < 50; ++trial) {
    const Eigen::VectorXd point = random_point(trial, 16), repaired = factors.repair(point);
    CHECK(factors.repair(repaired).isApprox(repaired, 1e-14));
    // The variational inequality of a projection: (point - repaired) . (other - repaired) <= 0 for every allowed other.
    for (std::uint32_t k = 0; k < 20; ++k) {
      const Eigen::VectorXd other = factors.repair(random_point(1000 + 20 * trial + k, 16));
      CHECK((point - repaired).dot(other - repaired) <= 1e-10);
    }
  }
}

TEST_CASE("points and proposals are each other's inverse") {
  Space space = test::make_space(32, 8.0, 256);
  space.search_attention_factor = true;
  space.attention_factor = 1.2;
  const LogFactors factors(space);
  CHECK(factors.dimension() == 17);
  const Eigen::VectorXd point = factors.repair(random_point(1, 17));
  const Proposal proposal = factors.proposal(point);
  Individual individual;
  individual.factors = proposal.factors;
  individual.attention_factor = proposal.attention_factor;
  CHECK(factors.point(individual).isApprox(point, 1e-12));
  CHECK(factors.point(space.yarn_factors)[16] == Approx(std::log(1.2)));
}

TEST_CASE("the searched critical dimension is the one that moves a point least") {
  Space space = test::make_space(64, 8.0, 256);
  space.bounds = FactorBounds::longrope2;
  space.critical = CriticalDimension::searched;
  const std::int64_t low = space.critical_pair_of(10.0), high = space.critical_pair_of(1.0);
  REQUIRE(low + 2 < high);
  const LogFactors factors(space);
  for (std::int64_t critical = low; critical <= high; ++critical) {
    Eigen::VectorXd point(32);
    for (Eigen::Index i = 0; i < 32; ++i) point[i] = i >= critical ? std::log(9.0) : std::log(2.0);
    CHECK(factors.repair(point) == point);
    // All but one pair below `high` may lie on either side; the pair before the step may not exceed s.
    point[critical] = std::log(7.5);
    const Eigen::VectorXd repaired = factors.repair(point);
    CHECK((repaired - point).norm() <= std::log(8.0 / 7.5) + 1e-12);
  }
}
