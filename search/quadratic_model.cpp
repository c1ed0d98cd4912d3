#include "search/quadratic_model.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace longrope::search {

QuadraticModel::QuadraticModel(const Eigen::MatrixXd& points, const Eigen::VectorXd& values)
    : centre_(points.colwise().mean().transpose()) {
  const Eigen::Index n = points.rows(), dimension = points.cols();
  const auto affordable = [&](Eigen::Index coefficients) {
    return static_cast<double>(n) >= 1.1 * static_cast<double>(coefficients);
  };
  if (affordable(1 + dimension)) form_ = Form::linear;
  if (affordable(1 + 2 * dimension)) form_ = Form::diagonal;
  if (affordable(1 + dimension + dimension * (dimension + 1) / 2)) form_ = Form::full;

  std::vector<Eigen::Index> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), Eigen::Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Eigen::Index a, Eigen::Index b) { return values[a] < values[b]; });
  Eigen::MatrixXd system(n, features(centre_).size());
  Eigen::VectorXd right(n);
  for (Eigen::Index rank = 0; rank < n; ++rank) {
    const Eigen::Index i = order[static_cast<std::size_t>(rank)];
    const double share = n > 1 ? static_cast<double>(rank) / static_cast<double>(n - 1) : 0.0;
    const double root = std::sqrt(20.0 - 19.0 * share);
    system.row(rank) = root * features(points.row(i).transpose()).transpose();
    right[rank] = root * values[i];
  }
  coefficients_ = system.completeOrthogonalDecomposition().solve(right);
}

Eigen::VectorXd QuadraticModel::features(const Eigen::VectorXd& point) const {
  const Eigen::VectorXd x = point - centre_;
  const Eigen::Index n = x.size();
  if (form_ == Form::constant) return Eigen::VectorXd::Ones(1);
  Eigen::VectorXd out(form_ == Form::linear ? 1 + n : form_ == Form::diagonal ? 1 + 2 * n : 1 + n + n * (n + 1) / 2);
  out[0] = 1.0;
  out.segment(1, n) = x;
  if (form_ == Form::diagonal) out.tail(n) = x.cwiseAbs2();
  if (form_ == Form::full) {
    Eigen::Index k = 1 + n;
    for (Eigen::Index i = 0; i < n; ++i) {
      for (Eigen::Index j = 0; j <= i; ++j) out[k++] = x[i] * x[j];
    }
  }
  return out;
}

double QuadraticModel::predict(const Eigen::VectorXd& point) const { return features(point).dot(coefficients_); }

double kendall_tau(std::span<const double> a, std::span<const double> b) {
  if (a.size() < 2) return 0.0;
  double sum = 0.0;
  for (std::size_t i = 1; i < a.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const double product = (a[i] - a[j]) * (b[i] - b[j]);
      sum += product > 0.0 ? 1.0 : product < 0.0 ? -1.0 : 0.0;
    }
  }
  return sum / (0.5 * static_cast<double>(a.size() * (a.size() - 1)));
}

}  // namespace longrope::search
