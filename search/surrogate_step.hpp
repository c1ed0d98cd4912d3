// Where a Gaussian process expects the objective lowest, within a trust region of its own metric.
#pragma once

#include <Eigen/Core>

#include "search/gaussian_process.hpp"
#include "search/log_factors.hpp"
#include "search/random.hpp"

namespace longrope::search {

struct SurrogateStep {
  const LogFactors& factors;
  Eigen::VectorXd centre;  ///< a repaired point
  double radius = 1.0;     ///< in units of the kernel's distance

  /// argmin of mean - caution * deviation over points the space allows within the radius, by projected gradient descent
  /// from the centre and a few random points near it. Returns a repaired point.
  Eigen::VectorXd minimise(const GaussianProcess& process, double caution, RandomStream& random) const;
};

}  // namespace longrope::search
