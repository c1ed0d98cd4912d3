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
  int moves = 0;           ///< rearrangements of the centre to try
  double move_radius = 1.0;  ///< of the radius, within which they must be

  /// argmin of mean - caution * deviation over points the space allows within the radius, by projected gradient descent
  /// from the centre, a few random points near it and the most promising rearrangement: a block of pairs moved together,
  /// or the end of a plateau moved by a pair or two. Gradients find neither, for the order of the factors is in their
  /// way. Returns a repaired point.
  Eigen::VectorXd minimise(const GaussianProcess& process, double caution, RandomStream& random) const;

 private:
  Eigen::VectorXd rearranged(RandomStream& random) const;
};

}  // namespace longrope::search
