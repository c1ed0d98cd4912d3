// The surrogate of lq-CMA-ES (N. Hansen, "A global surrogate assisted CMA-ES", GECCO 2019): a linear, diagonal or full
// quadratic fitted by weighted least squares, as complex as the data allow.
// Internal to search/: the header needs Eigen.
#pragma once

#include <Eigen/Core>
#include <span>

namespace longrope::search {

class QuadraticModel {
 public:
  enum class Form { constant, linear, diagonal, full };

  /// points: [n, dimension]; values: [n], finite. The form is the richest whose coefficients are fewer than n / 1.1.
  /// Weights run linearly from 20 for the lowest value to 1 for the highest; of all solutions the one of least norm.
  QuadraticModel(const Eigen::MatrixXd& points, const Eigen::VectorXd& values);

  Form form() const { return form_; }
  double predict(const Eigen::VectorXd& point) const;

 private:
  Eigen::VectorXd features(const Eigen::VectorXd& point) const;

  Form form_ = Form::constant;
  Eigen::VectorXd centre_, coefficients_;
};

/// Kendall's tau-a: (concordant - discordant) pairs over all pairs; 0 for fewer than two.
double kendall_tau(std::span<const double> a, std::span<const double> b);

}  // namespace longrope::search
