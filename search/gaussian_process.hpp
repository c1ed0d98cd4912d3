// A Gaussian process over log factors whose prior knows that neighbouring pairs act alike (Rasmussen and Williams,
// 2006, chapters 2 and 5):
//   k(x, x') = signal^2 exp(-d^2 / 2) + rough^2 exp(-v^2 |u|^2 / (2 pairs)),
//   d^2 = sum_k w_k^2 z_k^2 + r^2 |u|^2 / pairs + g^2 |diff u|^2 / (pairs - 1) + c^2 a^2,
// u the difference of the log factors, z_k its mean under the hat function of knot k, diff u its steps from pair to
// pair, a the difference of the log attention factor; the w_k run piecewise-linearly (in log) through kWeights
// hyperparameters. A constant mean and a noise are fitted. On 207 and 228 tables searched for the reference model and
// for another at 8x, the logarithm of the leave-one-out density per table is 4.03 and 4.57 with this kernel, 3.91 and
// 4.36 without the rough part and the steps. The rough part is real: the angles of the fast pairs at a distance of
// thousands of tokens turn with the last digits of λ.
// Internal to search/: the header needs Eigen.
#pragma once

#include <Eigen/Cholesky>
#include <Eigen/Core>

namespace longrope::search {

/// Logarithms of the kernel's hyperparameters: w, r, g, c, signal, rough, v, noise.
struct GpHyper {
  static constexpr int kWeights = 5, kCount = kWeights + 7;
  enum : int { residual = kWeights, steps, attention, signal, rough, roughness, noise };
  Eigen::Matrix<double, kCount, 1> values;

  /// The mode of the prior, where every fit starts: for log perplexities, compressed as `auto` does, of 8 to 64 pairs.
  static GpHyper prior_mode();
  /// Standard deviations of the (independent, normal) priors.
  static Eigen::Matrix<double, kCount, 1> prior_deviation();
};

/// The distances a likelihood needs, once per data set.
class GpData {
 public:
  /// points: [n, dimension]; the first `pairs` coordinates are log factors. values: [n], finite.
  GpData(const Eigen::MatrixXd& points, const Eigen::VectorXd& values, Eigen::Index pairs);

  /// -log of likelihood times prior, up to a constant, and its gradient (null: not wanted), with the mean at its
  /// maximum-likelihood value. Derivatives of the kernel are automatic (ceres::Jet). Infinity if the covariance cannot
  /// be factored.
  double negative_log_posterior(const GpHyper& hyper, Eigen::Matrix<double, GpHyper::kCount, 1>* gradient) const;

  /// Minimises the above from `start` by Ceres' L-BFGS. The better of result and start.
  GpHyper fit(const GpHyper& start, int iterations) const;

 private:
  Eigen::MatrixXd features_;  ///< [n (n - 1) / 2, knots + 3] squared differences
  Eigen::MatrixXd weights_;   ///< [knots, kWeights]
  Eigen::VectorXd values_;
};

class GaussianProcess {
 public:
  struct Prediction {
    double mean = 0.0, deviation = 0.0;  ///< of the function without the noise
    Eigen::VectorXd mean_gradient, deviation_gradient;
  };

  GaussianProcess(Eigen::MatrixXd points, Eigen::VectorXd values, Eigen::Index pairs, const GpHyper& hyper);

  Prediction predict(const Eigen::VectorXd& point) const;
  /// Mean and deviation alone.
  std::pair<double, double> predict_value(const Eigen::VectorXd& point) const;
  /// Conditions on the predicted mean at `point` as if it had been told, so that the next of a batch goes elsewhere.
  void believe(const Eigen::VectorXd& point);

  /// [dimension, dimension], of the smooth part: d^2 = (x - x')^T metric (x - x').
  const Eigen::MatrixXd& metric() const { return metric_; }

 private:
  void factor();
  /// What covariances of a point with the data are made of.
  struct Cross {
    Eigen::VectorXd along;          ///< [dimension] metric x
    Eigen::VectorXd smooth, rough;  ///< [n] covariances
  };
  Cross cross(const Eigen::VectorXd& point) const;

  Eigen::MatrixXd points_, metric_;
  Eigen::MatrixXd along_;            ///< [n, dimension] points times metric
  Eigen::VectorXd squares_, sizes_;  ///< [n] squared lengths of the points: by the metric, and of their log factors
  Eigen::VectorXd values_, alpha_;
  Eigen::Index pairs_;
  double signal2_, rough2_, roughness_, noise2_, mean_ = 0.0;
  Eigen::LLT<Eigen::MatrixXd> cholesky_;
};

}  // namespace longrope::search
