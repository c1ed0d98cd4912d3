#include "search/cma_es.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace longrope::search {

CmaEs::CmaEs(Eigen::VectorXd mean, const CmaOptions& options)
    : n_(mean.size()), options_(options), mean_(std::move(mean)), sigma_(options.sigma) {
  const double n = static_cast<double>(n_);
  population_ =
      options.population > 0 ? options.population : 4 + static_cast<Eigen::Index>(std::floor(3.0 * std::log(n)));
  path_sigma_ = path_covariance_ = Eigen::VectorXd::Zero(n_);
  covariance_ = basis_ = Eigen::MatrixXd::Identity(n_, n_);
  lengths_ = Eigen::VectorXd::Ones(n_);
}

Eigen::VectorXd CmaEs::sample(RandomStream& random) const {
  Eigen::VectorXd z(n_);
  for (Eigen::Index i = 0; i < n_; ++i) z[i] = random.normal();
  return mean_ + sigma_ * (basis_ * lengths_.cwiseProduct(z));
}

void CmaEs::update(const std::vector<Eigen::VectorXd>& ranked) {
  const auto lambda = static_cast<Eigen::Index>(ranked.size());
  if (lambda < 2) throw std::logic_error("CmaEs::update with fewer than two points");
  const double n = static_cast<double>(n_), count = static_cast<double>(lambda);
  const bool diagonal = options_.diagonal_updates < 0 || updates_ < options_.diagonal_updates;

  // Weights and rates: tutorial, Table 1.
  const Eigen::Index mu = lambda / 2;
  Eigen::VectorXd weights(lambda);
  for (Eigen::Index i = 0; i < lambda; ++i)
    weights[i] = std::log((count + 1.0) / 2.0) - std::log(static_cast<double>(i + 1));
  const auto effective = [](const auto& w) { return w.sum() * w.sum() / w.squaredNorm(); };
  const double mu_eff = effective(weights.head(mu));
  const double mu_eff_minus = lambda > mu ? effective(weights.tail(lambda - mu)) : 0.0;
  const double faster = diagonal ? (n + 2.0) / 3.0 : 1.0;
  const double c_c = (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n);
  const double c_1 = std::min(1.0, faster * 2.0 / ((n + 1.3) * (n + 1.3) + mu_eff));
  const double c_mu =
      std::min(1.0 - c_1, faster * 2.0 * (0.25 + mu_eff + 1.0 / mu_eff - 2.0) / ((n + 2.0) * (n + 2.0) + mu_eff));
  const double c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
  const double damping = 1.0 + 2.0 * std::max(0.0, std::sqrt((mu_eff - 1.0) / (n + 1.0)) - 1.0) + c_sigma;
  const double minus =
      std::min({1.0 + c_1 / c_mu, 1.0 + 2.0 * mu_eff_minus / (mu_eff + 2.0), (1.0 - c_1 - c_mu) / (n * c_mu)});
  double positive = 0.0, negative = 0.0;
  for (const double w : weights) (w > 0.0 ? positive : negative) += std::abs(w);
  for (double& w : weights) w *= w > 0.0 ? 1.0 / positive : std::max(0.0, minus) / negative;

  const double chi = std::sqrt(n) * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n));
  const double longest = std::sqrt(n) + 2.0 * n / (n + 2.0);
  std::vector<Eigen::VectorXd> steps, whitened;
  for (const Eigen::VectorXd& point : ranked) {
    Eigen::VectorXd y = (point - mean_) / sigma_;
    Eigen::VectorXd z = basis_.transpose() * y;
    z = z.cwiseQuotient(lengths_);
    const double clip = std::min(1.0, longest / std::max(z.norm(), 1e-300));
    steps.push_back(clip * y);
    whitened.push_back(clip * z);
  }
  Eigen::VectorXd step = Eigen::VectorXd::Zero(n_), whitened_step = Eigen::VectorXd::Zero(n_);
  for (Eigen::Index i = 0; i < mu; ++i) {
    step += weights[i] * steps[static_cast<std::size_t>(i)];
    whitened_step += weights[i] * whitened[static_cast<std::size_t>(i)];
  }
  mean_ += sigma_ * step;

  ++updates_;
  path_sigma_ =
      (1.0 - c_sigma) * path_sigma_ + std::sqrt(c_sigma * (2.0 - c_sigma) * mu_eff) * (basis_ * whitened_step);
  const double norm = path_sigma_.norm();
  const double settled = std::sqrt(1.0 - std::pow(1.0 - c_sigma, 2.0 * static_cast<double>(updates_)));
  const bool stalled = !(norm / settled < (1.4 + 2.0 / (n + 1.0)) * chi);
  path_covariance_ = (1.0 - c_c) * path_covariance_;
  if (!stalled) path_covariance_ += std::sqrt(c_c * (2.0 - c_c) * mu_eff) * step;
  sigma_ *= std::exp(std::min(1.0, c_sigma / damping * (norm / chi - 1.0)));

  const double h = stalled ? c_c * (2.0 - c_c) : 0.0;
  covariance_ *= 1.0 + c_1 * h - c_1 - c_mu * weights.sum();
  covariance_ += c_1 * path_covariance_ * path_covariance_.transpose();
  for (Eigen::Index i = 0; i < lambda; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const double w = weights[i] >= 0.0 ? weights[i] : weights[i] * n / std::max(whitened[k].squaredNorm(), 1e-300);
    covariance_ += c_mu * w * steps[k] * steps[k].transpose();
  }
  if (diagonal) covariance_ = covariance_.diagonal().asDiagonal().toDenseMatrix();
  decompose();
}

void CmaEs::decompose() {
  covariance_ = 0.5 * (covariance_ + covariance_.transpose().eval());
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(covariance_);
  const double floor = 1e-14 * std::max(solver.eigenvalues().maxCoeff(), 1e-300);
  basis_ = solver.eigenvectors();
  lengths_ = solver.eigenvalues().cwiseMax(floor).cwiseSqrt();
}

}  // namespace longrope::search
