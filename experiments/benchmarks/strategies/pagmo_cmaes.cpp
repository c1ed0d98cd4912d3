#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <pagmo/algorithms/cmaes.hpp>
#include <pagmo/config.hpp>
#include <pagmo/population.hpp>
#include <pagmo/problem.hpp>
#include <utility>

#include "experiments/benchmarks/strategies/peers.hpp"

namespace longrope::bench {
namespace {

constexpr double kSigma = 0.05;      // of the box's width, which pagmo scales every coordinate by
constexpr double kPenalty = 0.1;     // of YaRN's objective, per mean square of what the repair moved
constexpr double kUnbounded = 10.0;  // what a bad candidate is told to be, times YaRN's objective

/// pagmo's problem: copied freely by the library, so it holds pointers only.
struct LogFactors {
  const search::Space* space = nullptr;
  const PeerObjective* objective = nullptr;
  double start = 0.0;  ///< YaRN's objective

  pagmo::vector_double fitness(const pagmo::vector_double& z) const {
    const std::vector<double> repaired = isotonic(z);
    double moved = 0.0;
    for (std::size_t i = 0; i < z.size(); ++i) moved += (z[i] - repaired[i]) * (z[i] - repaired[i]);
    const double value = (*objective)(candidate_at(*space, repaired));
    if (!std::isfinite(value)) return {kUnbounded * std::abs(start) + 1.0};
    return {value + kPenalty * std::abs(start) * moved / static_cast<double>(z.size())};
  }
  std::pair<pagmo::vector_double, pagmo::vector_double> get_bounds() const {
    pagmo::vector_double low, high;
    for (std::int64_t i = 0; i < space->geometry.pairs(); ++i) {
      low.push_back(std::log(space->lower(i)));
      high.push_back(std::log(space->upper(i)));
    }
    return {low, high};
  }
};

void run(const search::Space& space, std::uint64_t seed, std::int64_t budget, const PeerObjective& objective) {
  const std::vector<double> yarn = yarn_log_factors(space);
  const double start = objective(candidate_at(space, yarn));
  const auto offspring = static_cast<std::size_t>(4.0 + 3.0 * std::log(static_cast<double>(yarn.size())));
  // cmaes takes the best of the population it is given as the mean: here all of it is YaRN, scored once.
  const auto draws = static_cast<unsigned>(seed);
  pagmo::population population(pagmo::problem(LogFactors{&space, &objective, start}), 0, draws);
  for (std::size_t i = 0; i < offspring; ++i) population.push_back(yarn, {std::isfinite(start) ? start : 1e300});
  const auto generations = static_cast<unsigned>(budget / static_cast<std::int64_t>(offspring) + 1);
  const double never = 0.0;  // its tolerances would end it at once: the population given is all alike
  const pagmo::cmaes cmaes(generations, -1, -1, -1, -1, kSigma, never, never, false, false, draws);
  cmaes.evolve(population);
}

}  // namespace

std::optional<Peer> pagmo_cmaes_peer() {
  return Peer{"pagmo-cmaes",
              fmt::format("pagmo {} cmaes on log lambda with isotonic repair (penalty {}), mean YaRN, sigma0 {} of the "
                          "bounds' width, 4 + 3 ln n offspring",
                          PAGMO_VERSION, kPenalty, kSigma),
              run};
}

}  // namespace longrope::bench
