// Hat functions over the pair index: piecewise-linear curves over all pairs as combinations of a few knots.
#pragma once

#include <Eigen/Core>

namespace longrope::search {

/// [pairs, knots], knots at equal distances from the first pair to the last; rows sum to 1. knots >= pairs: the
/// identity. Preconditions: pairs >= 1, knots >= 2.
Eigen::MatrixXd hat_basis(Eigen::Index pairs, Eigen::Index knots);

}  // namespace longrope::search
