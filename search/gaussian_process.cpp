#include "search/gaussian_process.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "search/gp_features.hpp"

namespace longrope::search {

GaussianProcess::GaussianProcess(Eigen::MatrixXd points, Eigen::VectorXd values, Eigen::Index pairs,
                                 const GpHyper& hyper)
    : points_(std::move(points)),
      values_(std::move(values)),
      signal2_(std::exp(2.0 * hyper.values[GpHyper::signal])),
      noise2_(std::exp(2.0 * hyper.values[GpHyper::noise])) {
  const Eigen::Index dimension = points_.cols();
  const Eigen::MatrixXd means = gp_knot_means(pairs);
  const Eigen::VectorXd weights =
      (2.0 * (gp_weight_basis(means.cols()) * hyper.values.head<GpHyper::kWeights>())).array().exp();
  metric_ = Eigen::MatrixXd::Zero(dimension, dimension);
  metric_.topLeftCorner(pairs, pairs) = means * weights.asDiagonal() * means.transpose();
  metric_.diagonal().head(pairs).array() +=
      std::exp(2.0 * hyper.values[GpHyper::residual]) / static_cast<double>(pairs);
  if (dimension > pairs) metric_(pairs, pairs) = std::exp(2.0 * hyper.values[GpHyper::attention]);
  factor();
}

void GaussianProcess::factor() {
  const Eigen::Index n = points_.rows();
  Eigen::MatrixXd covariance(n, n);
  for (Eigen::Index i = 0; i < n; ++i) covariance.col(i) = covariances(points_.row(i).transpose());
  covariance.diagonal().array() += noise2_ + kGpJitter * signal2_;
  cholesky_.compute(covariance);
  const Eigen::VectorXd ones = cholesky_.solve(Eigen::VectorXd::Ones(n));
  mean_ = ones.dot(values_) / ones.sum();
  alpha_ = cholesky_.solve((values_.array() - mean_).matrix());
}

Eigen::VectorXd GaussianProcess::covariances(const Eigen::VectorXd& point) const {
  const Eigen::MatrixXd differences = points_.rowwise() - point.transpose();
  const Eigen::VectorXd squares = (differences * metric_).cwiseProduct(differences).rowwise().sum();
  return signal2_ * (-0.5 * squares.array()).exp().matrix();
}

std::pair<double, double> GaussianProcess::predict_value(const Eigen::VectorXd& point) const {
  const Eigen::VectorXd k = covariances(point);
  const Eigen::VectorXd half = cholesky_.matrixL().solve(k);
  return {mean_ + k.dot(alpha_), std::sqrt(std::max(signal2_ - half.squaredNorm(), 1e-14 * signal2_))};
}

GaussianProcess::Prediction GaussianProcess::predict(const Eigen::VectorXd& point) const {
  const Eigen::MatrixXd differences = points_.rowwise() - point.transpose();
  const Eigen::MatrixXd along = differences * metric_;  // d k_n / d x = k_n (metric (x_n - x))
  const Eigen::VectorXd k = signal2_ * (-0.5 * along.cwiseProduct(differences).rowwise().sum().array()).exp().matrix();
  const Eigen::VectorXd solved = cholesky_.solve(k);
  Prediction p;
  p.mean = mean_ + k.dot(alpha_);
  p.deviation = std::sqrt(std::max(signal2_ - k.dot(solved), 1e-14 * signal2_));
  p.mean_gradient = along.transpose() * k.cwiseProduct(alpha_);
  p.deviation_gradient = along.transpose() * k.cwiseProduct(solved) / -p.deviation;
  return p;
}

void GaussianProcess::believe(const Eigen::VectorXd& point) {
  const double mean = predict_value(point).first;
  points_.conservativeResize(points_.rows() + 1, Eigen::NoChange);
  points_.bottomRows<1>() = point.transpose();
  values_.conservativeResize(values_.size() + 1);
  values_[values_.size() - 1] = mean;
  factor();
}

}  // namespace longrope::search
