// The likelihood of GpHyper and its maximisation: the one file that needs Ceres.
#include <ceres/ceres.h>
#include <ceres/jet.h>

#include <Eigen/Cholesky>
#include <cmath>
#include <limits>

#include "search/gaussian_process.hpp"
#include "search/gp_features.hpp"
#include "search/pair_basis.hpp"

namespace longrope::search {
namespace {

using Vector = Eigen::Matrix<double, GpHyper::kCount, 1>;
using Jet = ceres::Jet<double, GpHyper::kCount>;

class Posterior final : public ceres::FirstOrderFunction {
 public:
  explicit Posterior(const GpData& data) : data_(data) {}
  int NumParameters() const override { return GpHyper::kCount; }
  bool Evaluate(const double* parameters, double* cost, double* gradient) const override {
    GpHyper hyper;
    hyper.values = Eigen::Map<const Vector>(parameters);
    Vector slope;
    *cost = data_.negative_log_posterior(hyper, gradient == nullptr ? nullptr : &slope);
    if (gradient != nullptr) Eigen::Map<Vector>(gradient, GpHyper::kCount) = slope;
    return std::isfinite(*cost);
  }

 private:
  const GpData& data_;
};

}  // namespace

Eigen::MatrixXd gp_knot_means(Eigen::Index pairs) {
  Eigen::MatrixXd means =
      pairs < 3 ? Eigen::MatrixXd::Identity(pairs, pairs) : hat_basis(pairs, std::min<Eigen::Index>(12, pairs));
  for (Eigen::Index k = 0; k < means.cols(); ++k) means.col(k) /= means.col(k).sum();
  return means;
}

Eigen::MatrixXd gp_weight_basis(Eigen::Index knots) {
  Eigen::MatrixXd basis = Eigen::MatrixXd::Zero(knots, GpHyper::kWeights);
  if (knots <= GpHyper::kWeights) {
    basis.topLeftCorner(knots, knots).setIdentity();
    return basis;
  }
  return hat_basis(knots, GpHyper::kWeights);
}

GpHyper GpHyper::prior_mode() {
  GpHyper hyper;
  hyper.values << 2.5, -0.6, 1.5, 0.2, -1.0,  // weights, from the fast pairs to the slow
      -1.2,                                   // residual
      0.8,                                    // steps
      1.0,                                    // attention
      -4.6, -5.7,                             // signal, rough
      3.0,                                    // roughness
      -6.3;                                   // noise
  return hyper;
}

Eigen::Matrix<double, GpHyper::kCount, 1> GpHyper::prior_deviation() {
  Vector deviation;
  deviation.setConstant(0.8);
  return deviation;
}

GpData::GpData(const Eigen::MatrixXd& points, const Eigen::VectorXd& values, Eigen::Index pairs) : values_(values) {
  const Eigen::MatrixXd means = gp_knot_means(pairs);
  const Eigen::Index knots = means.cols(), n = points.rows();
  weights_ = gp_weight_basis(knots);
  const Eigen::MatrixXd at_knots = points.leftCols(pairs) * means;
  features_ = Eigen::MatrixXd::Zero(n * (n - 1) / 2, knots + 3);
  Eigen::Index row = 0;
  for (Eigen::Index j = 1; j < n; ++j) {
    for (Eigen::Index i = 0; i < j; ++i, ++row) {
      features_.row(row).head(knots) = (at_knots.row(i) - at_knots.row(j)).array().square();
      const Eigen::VectorXd u = (points.row(i) - points.row(j)).head(pairs).transpose();
      features_(row, knots) = u.squaredNorm() / static_cast<double>(pairs);
      if (pairs > 1)
        features_(row, knots + 1) =
            (u.tail(pairs - 1) - u.head(pairs - 1)).squaredNorm() / static_cast<double>(pairs - 1);
      if (points.cols() > pairs) {
        const double attention = points(i, pairs) - points(j, pairs);
        features_(row, knots + 2) = attention * attention;
      }
    }
  }
}

double GpData::negative_log_posterior(const GpHyper& hyper, Vector* gradient) const {
  const Eigen::Index n = values_.size(), knots = weights_.rows();
  // Squared weights of the features and their derivatives.
  Eigen::VectorXd scale(knots + 3);
  Eigen::MatrixXd slopes(knots + 3, GpHyper::kCount);
  Jet parameters[GpHyper::kCount];
  for (int p = 0; p < GpHyper::kCount; ++p) parameters[p] = Jet(hyper.values[p], p);
  for (Eigen::Index k = 0; k < knots + 3; ++k) {
    Jet log_weight(0.0);
    if (k < knots) {
      for (int p = 0; p < GpHyper::kWeights; ++p) log_weight += weights_(k, p) * parameters[p];
    } else {
      log_weight = parameters[GpHyper::residual + static_cast<int>(k - knots)];  // residual, steps, attention
    }
    const Jet weight = exp(2.0 * log_weight);
    scale[k] = weight.a;
    slopes.row(k) = weight.v.transpose();
  }
  const Jet signal2 = exp(2.0 * parameters[GpHyper::signal]), noise2 = exp(2.0 * parameters[GpHyper::noise]);
  const Jet rough2 = exp(2.0 * parameters[GpHyper::rough]), roughness = exp(2.0 * parameters[GpHyper::roughness]);
  const Jet diagonal = (signal2 + rough2) * (1.0 + kGpJitter) + noise2;

  const Eigen::ArrayXd smooth = signal2.a * (-0.5 * (features_ * scale).array()).exp();
  const Eigen::ArrayXd rough = rough2.a * (-0.5 * roughness.a * features_.col(knots).array()).exp();
  Eigen::MatrixXd covariance(n, n);
  covariance.diagonal().setConstant(diagonal.a);
  Eigen::Index row = 0;
  for (Eigen::Index j = 1; j < n; ++j) {
    for (Eigen::Index i = 0; i < j; ++i, ++row) covariance(i, j) = covariance(j, i) = smooth[row] + rough[row];
  }
  const Eigen::LLT<Eigen::MatrixXd> cholesky(covariance);
  if (cholesky.info() != Eigen::Success) return std::numeric_limits<double>::infinity();
  const Eigen::VectorXd ones = cholesky.solve(Eigen::VectorXd::Ones(n));
  const double mean = ones.dot(values_) / ones.sum();
  const Eigen::VectorXd residual = values_.array() - mean;
  const Eigen::VectorXd alpha = cholesky.solve(residual);
  const Vector deviation = GpHyper::prior_deviation();
  const Vector z = (hyper.values - GpHyper::prior_mode().values).cwiseQuotient(deviation);
  const double value =
      0.5 * residual.dot(alpha) + cholesky.matrixLLT().diagonal().array().log().sum() + 0.5 * z.squaredNorm();
  if (gradient == nullptr) return value;

  // d value = 1/2 tr((K^-1 - alpha alpha^T) dK) (Rasmussen and Williams, eq. 5.9); the mean is at its optimum.
  const Eigen::MatrixXd sensitivity =
      0.5 * (cholesky.solve(Eigen::MatrixXd::Identity(n, n)) - alpha * alpha.transpose());
  *gradient = z.cwiseQuotient(deviation) + sensitivity.trace() * diagonal.v;
  Eigen::ArrayXd both(smooth.size());  // (i, j) and (j, i)
  row = 0;
  for (Eigen::Index j = 1; j < n; ++j) {
    for (Eigen::Index i = 0; i < j; ++i, ++row) both[row] = 2.0 * sensitivity(i, j);
  }
  const Eigen::ArrayXd by_smooth = both * smooth, by_rough = both * rough;
  *gradient += by_smooth.sum() / signal2.a * signal2.v + by_rough.sum() / rough2.a * rough2.v;
  *gradient += slopes.transpose() * (features_.transpose() * (-0.5 * by_smooth).matrix());
  *gradient += -0.5 * (by_rough * features_.col(knots).array()).sum() * roughness.v;
  return value;
}

GpHyper GpData::fit(const GpHyper& start, int iterations) const {
  GpHyper fitted = start;
  const ceres::GradientProblem problem(new Posterior(*this));
  ceres::GradientProblemSolver::Options options;
  options.max_num_iterations = iterations;
  options.logging_type = ceres::SILENT;
  ceres::GradientProblemSolver::Summary summary;
  ceres::Solve(options, problem, fitted.values.data(), &summary);
  const double before = negative_log_posterior(start, nullptr), after = negative_log_posterior(fitted, nullptr);
  return after <= before ? fitted : start;
}

}  // namespace longrope::search
