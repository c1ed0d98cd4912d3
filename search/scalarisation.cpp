#include "search/scalarisation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "search/nan.hpp"
#include "search/ordering.hpp"

namespace longrope::search {
namespace {

double log_of(double objective) { return objective > 0.0 && std::isfinite(objective) ? std::log(objective) : kNan; }

}  // namespace

std::vector<double> weights_of_generation(std::int32_t generation, std::size_t objectives) {
  const double n = static_cast<double>(objectives);
  std::vector<double> weights(objectives, 1.0 / n);
  const std::size_t turn = static_cast<std::size_t>(generation) % (2 * objectives + 1);
  if (objectives == 1 || turn == 0) return weights;
  // Never all on one objective: that point of the frontier may be arbitrarily bad in the others.
  const double share = turn <= objectives ? 0.95 : 0.75;
  for (double& weight : weights) weight = (1.0 - share) / (n - 1.0);
  weights[(turn - 1) % objectives] = share;
  return weights;
}

std::vector<double> scalarise(std::span<const Individual> told, std::span<const double> weights) {
  std::vector<double> values(told.size(), kNan);
  if (weights.size() == 1) {
    for (std::size_t i = 0; i < told.size(); ++i) values[i] = log_of(told[i].objective);
    return values;
  }
  std::vector<double> lowest(weights.size(), kNan);
  for (const Individual& individual : told) {
    for (std::size_t k = 0; k < weights.size(); ++k) {
      const double value = log_of(individual.objectives[k]);
      if (!individual.raced_out && less_nan_last(value, lowest[k])) lowest[k] = value;
    }
  }
  for (std::size_t i = 0; i < told.size(); ++i) {
    double largest = -std::numeric_limits<double>::infinity(), sum = 0.0;
    for (std::size_t k = 0; k < weights.size(); ++k) {
      const double distance = weights[k] * (log_of(told[i].objectives[k]) - lowest[k]);
      largest = std::max(largest, distance);
      sum += distance;  // NaN stays
    }
    values[i] = largest + 0.1 * sum;
  }
  return values;
}

}  // namespace longrope::search
