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
      pairs_(pairs),
      signal2_(std::exp(2.0 * hyper.values[GpHyper::signal])),
      rough2_(std::exp(2.0 * hyper.values[GpHyper::rough])),
      roughness_(std::exp(2.0 * hyper.values[GpHyper::roughness]) / static_cast<double>(pairs)),
      noise2_(std::exp(2.0 * hyper.values[GpHyper::noise])) {
  const Eigen::Index dimension = points_.cols();
  const Eigen::MatrixXd means = gp_knot_means(pairs);
  const Eigen::VectorXd weights =
      (2.0 * (gp_weight_basis(means.cols()) * hyper.values.head<GpHyper::kWeights>())).array().exp();
  metric_ = Eigen::MatrixXd::Zero(dimension, dimension);
  metric_.topLeftCorner(pairs, pairs) = means * weights.asDiagonal() * means.transpose();
  metric_.diagonal().head(pairs).array() +=
      std::exp(2.0 * hyper.values[GpHyper::residual]) / static_cast<double>(pairs);
  if (pairs > 1) {
    const double steps = std::exp(2.0 * hyper.values[GpHyper::steps]) / static_cast<double>(pairs - 1);
    for (Eigen::Index i = 0; i + 1 < pairs; ++i) {
      metric_(i, i) += steps;
      metric_(i + 1, i + 1) += steps;
      metric_(i, i + 1) -= steps;
      metric_(i + 1, i) -= steps;
    }
  }
  if (dimension > pairs) metric_(pairs, pairs) = std::exp(2.0 * hyper.values[GpHyper::attention]);
  factor();
}

void GaussianProcess::factor() {
  const Eigen::Index n = points_.rows();
  along_ = points_ * metric_;
  squares_ = along_.cwiseProduct(points_).rowwise().sum();
  sizes_ = points_.leftCols(pairs_).rowwise().squaredNorm();
  Eigen::MatrixXd covariance(n, n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const Cross k = cross(points_.row(i).transpose());
    covariance.col(i) = k.smooth + k.rough;
  }
  covariance.diagonal().array() += noise2_ + kGpJitter * (signal2_ + rough2_);
  cholesky_.compute(covariance);
  const Eigen::VectorXd ones = cholesky_.solve(Eigen::VectorXd::Ones(n));
  mean_ = ones.dot(values_) / ones.sum();
  alpha_ = cholesky_.solve((values_.array() - mean_).matrix());
}

GaussianProcess::Cross GaussianProcess::cross(const Eigen::VectorXd& point) const {
  // |x_n - x|^2 = |x_n|^2 - 2 x_n x + |x|^2: n dimension operations instead of n dimension^2. The rounding error is
  // 1e-14, far below the noise.
  Cross k;
  k.along = metric_ * point;
  const Eigen::ArrayXd distances = (squares_ - 2.0 * (along_ * point)).array() + point.dot(k.along);
  k.smooth = signal2_ * (-0.5 * distances.max(0.0)).exp();
  const Eigen::VectorXd factors = point.head(pairs_);
  const Eigen::ArrayXd plain = (sizes_ - 2.0 * (points_.leftCols(pairs_) * factors)).array() + factors.squaredNorm();
  k.rough = rough2_ * (-0.5 * roughness_ * plain.max(0.0)).exp();
  return k;
}

std::pair<double, double> GaussianProcess::predict_value(const Eigen::VectorXd& point) const {
  const Cross parts = cross(point);
  const Eigen::VectorXd k = parts.smooth + parts.rough, half = cholesky_.matrixL().solve(k);
  const double prior = signal2_ + rough2_;
  return {mean_ + k.dot(alpha_), std::sqrt(std::max(prior - half.squaredNorm(), 1e-14 * prior))};
}

GaussianProcess::Prediction GaussianProcess::predict(const Eigen::VectorXd& point) const {
  const Cross parts = cross(point);
  const Eigen::VectorXd k = parts.smooth + parts.rough, solved = cholesky_.solve(k);
  const double prior = signal2_ + rough2_;
  // d k_n / d x = smooth_n metric (x_n - x) + rough_n roughness (x_n - x)
  const auto gradient = [&](const Eigen::VectorXd& weights) {
    const Eigen::VectorXd smooth = parts.smooth.cwiseProduct(weights), rough = parts.rough.cwiseProduct(weights);
    Eigen::VectorXd out = along_.transpose() * smooth - smooth.sum() * parts.along;
    out.head(pairs_) += roughness_ * (points_.leftCols(pairs_).transpose() * rough - rough.sum() * point.head(pairs_));
    return out;
  };
  Prediction p;
  p.mean = mean_ + k.dot(alpha_);
  p.deviation = std::sqrt(std::max(prior - k.dot(solved), 1e-14 * prior));
  p.mean_gradient = gradient(alpha_);
  p.deviation_gradient = gradient(solved) / -p.deviation;
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
