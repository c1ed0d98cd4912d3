#include "search/pair_basis.hpp"

#include <algorithm>

namespace longrope::search {

Eigen::MatrixXd hat_basis(Eigen::Index pairs, Eigen::Index knots) {
  if (knots >= pairs) return Eigen::MatrixXd::Identity(pairs, pairs);
  Eigen::MatrixXd basis = Eigen::MatrixXd::Zero(pairs, knots);
  for (Eigen::Index i = 0; i < pairs; ++i) {
    const double at = static_cast<double>(i * (knots - 1)) / static_cast<double>(pairs - 1);
    const Eigen::Index knot = std::min(static_cast<Eigen::Index>(at), knots - 2);
    const double share = at - static_cast<double>(knot);
    basis(i, knot) = 1.0 - share;
    basis(i, knot + 1) = share;
  }
  return basis;
}

}  // namespace longrope::search
