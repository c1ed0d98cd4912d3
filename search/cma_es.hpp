// CMA-ES with active covariance update, N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772, with the
// tutorial's default parameters; the diagonal variant learns (n + 2)/3 times faster (Ros and Hansen, PPSN 2008).
// Internal to search/: the header needs Eigen.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

#include "search/random.hpp"

namespace longrope::search {

struct CmaOptions {
  Eigen::Index population = 0;  ///< λ; 0: 4 + floor(3 ln n)
  double sigma = 0.1;           ///< first step size
  /// The covariance is diagonal in the first this many updates, and full from then on; negative: always diagonal.
  std::int64_t diagonal_updates = 0;
};

class CmaEs {
 public:
  /// mean: [n], n >= 1.
  CmaEs(Eigen::VectorXd mean, const CmaOptions& options);

  Eigen::Index population() const { return population_; }
  const Eigen::VectorXd& mean() const { return mean_; }
  double sigma() const { return sigma_; }

  /// A point of the present distribution; n normals of `random`.
  Eigen::VectorXd sample(RandomStream& random) const;

  /// One generation: the points sampled, best first. Points may differ from samples of this distribution (repaired or
  /// injected ones): their length is clipped as in Hansen, "Injecting external solutions into CMA-ES", arXiv 1110.4181.
  /// Fewer than population() points are allowed, from 2.
  void update(const std::vector<Eigen::VectorXd>& ranked);

 private:
  void decompose();

  Eigen::Index n_, population_;
  CmaOptions options_;
  Eigen::VectorXd mean_;
  double sigma_;
  std::int64_t updates_ = 0;
  Eigen::VectorXd path_sigma_, path_covariance_;
  Eigen::MatrixXd covariance_, basis_;  ///< C = B diag(d^2) B^T
  Eigen::VectorXd lengths_;             ///< d
};

}  // namespace longrope::search
