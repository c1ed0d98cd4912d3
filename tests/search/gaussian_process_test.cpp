#include "search/gaussian_process.hpp"

#include <Eigen/LU>
#include <cmath>

#include "search/random.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;

namespace {

struct Sample {
  Eigen::MatrixXd points;
  Eigen::VectorXd values;
};

Sample make_sample(Eigen::Index n, Eigen::Index pairs, Eigen::Index dimension) {
  RandomStream random(7, 0, static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(pairs), Purpose::random);
  Sample sample{Eigen::MatrixXd(n, dimension), Eigen::VectorXd(n)};
  for (Eigen::Index i = 0; i < n; ++i) {
    double sum = 0.0;
    for (Eigen::Index j = 0; j < dimension; ++j) {
      sample.points(i, j) = random.normal();
      sum += std::sin(sample.points(i, j)) * static_cast<double>(j % 3);
    }
    sample.values[i] = 0.1 * sum;
  }
  return sample;
}

GpHyper some_hyper() {
  GpHyper hyper = GpHyper::prior_mode();
  hyper.values.head<GpHyper::kWeights>().setConstant(-0.3);
  hyper.values[GpHyper::steps] = -1.0;
  hyper.values[GpHyper::signal] = -2.0;
  hyper.values[GpHyper::rough] = -3.0;
  hyper.values[GpHyper::roughness] = -0.5;
  hyper.values[GpHyper::noise] = -5.0;
  for (int p = 0; p < GpHyper::kCount; ++p) hyper.values[p] += 0.1 * static_cast<double>(p) - 0.3;
  return hyper;
}

/// Covariance by the definition in the header, pair of points by pair of points.
double kernel(const Eigen::VectorXd& a, const Eigen::VectorXd& b, Eigen::Index pairs, const GpHyper& hyper) {
  const Eigen::Index knots = std::min<Eigen::Index>(12, pairs);
  const auto hat = [](double at, Eigen::Index knot, Eigen::Index from, Eigen::Index to) {
    const double position = at * static_cast<double>(to - 1) / static_cast<double>(from - 1);
    return std::max(0.0, 1.0 - std::abs(position - static_cast<double>(knot)));
  };
  double square = 0.0;
  for (Eigen::Index k = 0; k < knots; ++k) {
    double mean = 0.0, mass = 0.0, log_weight = 0.0;
    for (Eigen::Index i = 0; i < pairs; ++i) {
      mean += hat(static_cast<double>(i), k, pairs, knots) * (a[i] - b[i]);
      mass += hat(static_cast<double>(i), k, pairs, knots);
    }
    for (int p = 0; p < GpHyper::kWeights; ++p)
      log_weight += hat(static_cast<double>(k), p, knots, GpHyper::kWeights) * hyper.values[p];
    square += std::exp(2.0 * log_weight) * (mean / mass) * (mean / mass);
  }
  square +=
      std::exp(2.0 * hyper.values[GpHyper::residual]) * (a - b).head(pairs).squaredNorm() / static_cast<double>(pairs);
  for (Eigen::Index i = 0; i + 1 < pairs; ++i) {
    square += std::exp(2.0 * hyper.values[GpHyper::steps]) / static_cast<double>(pairs - 1) *
              std::pow((a[i + 1] - b[i + 1]) - (a[i] - b[i]), 2);
  }
  if (a.size() > pairs) square += std::exp(2.0 * hyper.values[GpHyper::attention]) * std::pow(a[pairs] - b[pairs], 2);
  const double rough =
      std::exp(2.0 * hyper.values[GpHyper::roughness]) * (a - b).head(pairs).squaredNorm() / static_cast<double>(pairs);
  return std::exp(2.0 * hyper.values[GpHyper::signal]) * std::exp(-0.5 * square) +
         std::exp(2.0 * hyper.values[GpHyper::rough]) * std::exp(-0.5 * rough);
}

}  // namespace

TEST_CASE("the posterior is the textbook's") {
  const Eigen::Index pairs = 16;
  for (const Eigen::Index dimension : {pairs, pairs + 1}) {
    const Sample sample = make_sample(9, pairs, dimension);
    const GpHyper hyper = some_hyper();
    const GaussianProcess process(sample.points, sample.values, pairs, hyper);
    const Eigen::VectorXd x = make_sample(1, pairs, dimension).points.row(0).transpose() * 0.3;

    // Rasmussen and Williams, eqs. 2.23 to 2.24, by an explicit inverse; mean: generalised least squares.
    Eigen::MatrixXd covariance(9, 9);
    Eigen::VectorXd cross(9);
    const double signal2 = std::exp(2.0 * hyper.values[GpHyper::signal]) + std::exp(2.0 * hyper.values[GpHyper::rough]);
    for (Eigen::Index i = 0; i < 9; ++i) {
      for (Eigen::Index j = 0; j < 9; ++j)
        covariance(i, j) = kernel(sample.points.row(i), sample.points.row(j), pairs, hyper);
      covariance(i, i) += std::exp(2.0 * hyper.values[GpHyper::noise]) + 1e-8 * signal2;
      cross[i] = kernel(sample.points.row(i), x, pairs, hyper);
    }
    const Eigen::MatrixXd inverse = covariance.inverse();
    const Eigen::VectorXd ones = Eigen::VectorXd::Ones(9);
    const double mean = ones.dot(inverse * sample.values) / ones.dot(inverse * ones);
    const double want = mean + cross.dot(inverse * (sample.values - mean * ones));
    const double deviation = std::sqrt(signal2 - cross.dot(inverse * cross));
    const auto got = process.predict(x);
    CHECK(got.mean == Approx(want).epsilon(1e-9));
    CHECK(got.deviation == Approx(deviation).epsilon(1e-9));
    CHECK(process.predict_value(x).first == Approx(want).epsilon(1e-9));
    CHECK(process.predict_value(x).second == Approx(deviation).epsilon(1e-9));

    for (Eigen::Index i = 0; i < dimension; ++i) {
      Eigen::VectorXd up = x, down = x;
      up[i] += 1e-5;
      down[i] -= 1e-5;
      const auto above = process.predict_value(up), below = process.predict_value(down);
      CHECK(got.mean_gradient[i] == Approx((above.first - below.first) / 2e-5).margin(1e-8).epsilon(1e-5));
      CHECK(got.deviation_gradient[i] == Approx((above.second - below.second) / 2e-5).margin(1e-8).epsilon(1e-5));
    }
  }
}

TEST_CASE("believing leaves the mean and takes the uncertainty away") {
  const Sample sample = make_sample(6, 8, 8);
  GaussianProcess process(sample.points, sample.values, 8, some_hyper());
  const Eigen::VectorXd x = Eigen::VectorXd::Constant(8, 0.4);
  const auto before = process.predict_value(x);
  process.believe(x);
  const auto after = process.predict_value(x);
  CHECK(after.first == Approx(before.first).margin(1e-3));
  CHECK(after.second < 0.2 * before.second);
}

TEST_CASE("automatic derivatives of the likelihood agree with differences, and fitting lowers it") {
  for (const Eigen::Index dimension : {Eigen::Index{20}, Eigen::Index{21}}) {
    const Sample sample = make_sample(15, 20, dimension);
    const GpData data(sample.points, sample.values, 20);
    const GpHyper hyper = some_hyper();
    Eigen::Matrix<double, GpHyper::kCount, 1> gradient;
    const double value = data.negative_log_posterior(hyper, &gradient);
    CHECK(value == data.negative_log_posterior(hyper, nullptr));
    for (int p = 0; p < GpHyper::kCount; ++p) {
      GpHyper up = hyper, down = hyper;
      up.values[p] += 1e-5;
      down.values[p] -= 1e-5;
      const double difference =
          (data.negative_log_posterior(up, nullptr) - data.negative_log_posterior(down, nullptr)) / 2e-5;
      CHECK(gradient[p] == Approx(difference).epsilon(1e-5).margin(1e-6));
    }
    const GpHyper fitted = data.fit(hyper, 50);
    CHECK(data.negative_log_posterior(fitted, &gradient) < value);
    CHECK(gradient.norm() < 0.1);
    CHECK(data.fit(hyper, 50).values == fitted.values);  // the same bits
  }
}
