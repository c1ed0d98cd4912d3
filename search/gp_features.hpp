// What the Gaussian process and its likelihood must agree on: the knots that pair differences are averaged at.
#pragma once

#include <Eigen/Core>

namespace longrope::search {

/// Added to the diagonal of covariances, in units of the signal's variance.
inline constexpr double kGpJitter = 1e-8;

/// [pairs, knots]: column k holds the hat function of knot k, normalised to sum 1. 12 knots, fewer for few pairs.
Eigen::MatrixXd gp_knot_means(Eigen::Index pairs);
/// [knots, GpHyper::kWeights]: how the log weights run over the knots.
Eigen::MatrixXd gp_weight_basis(Eigen::Index knots);

}  // namespace longrope::search
