// Analytic problems: the optimum is where it is said to be, and the spectra are those that were asked for.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "experiments/benchmarks/strategies/analytic.hpp"
#include "kernels/error.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::bench;  // NOLINT(google-build-using-namespace)

namespace {

constexpr AnalyticKind kAll[] = {AnalyticKind::separable, AnalyticKind::rotated, AnalyticKind::wall,
                                 AnalyticKind::ripple, AnalyticKind::rough};

/// Value at the optimum moved by `step` in log λ.
double moved(const AnalyticInstance& instance, const std::vector<double>& step) {
  std::vector<double> factors = instance.optimal_factors();
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] *= std::exp(step[i]);
  return instance.value(factors);
}

/// Second derivatives at the optimum: the objectives without wall and ripple are quadratic, so differences are exact.
std::vector<std::vector<double>> hessian(const AnalyticInstance& instance) {
  const std::size_t n = instance.optimal_factors().size();
  constexpr double h = 0.1;
  const auto at = [&](std::size_t i, std::size_t j) {
    std::vector<double> step(n, 0.0);
    step[i] += h;
    step[j] += h;
    return moved(instance, step) - 1.0;
  };
  std::vector<double> single(n);
  for (std::size_t i = 0; i < n; ++i) single[i] = at(i, i) / 4.0;
  std::vector<std::vector<double>> out(n, std::vector<double>(n));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j)
      out[i][j] = i == j ? 2.0 * single[i] / (h * h) : (at(i, j) - single[i] - single[j]) / (h * h);
  }
  return out;
}

/// Weights of three decades in geometric steps, mean 1.
std::vector<double> three_decades(std::size_t n) {
  std::vector<double> a(n);
  double sum = 0.0;
  for (std::size_t i = 0; i < n; ++i)
    sum += a[i] = std::pow(10.0, -3.0 * static_cast<double>(i) / static_cast<double>(n - 1));
  for (double& x : a) x *= static_cast<double>(n) / sum;
  return a;
}

}  // namespace

TEST_CASE("analytic optima are 1, in bounds, monotone, and lower than all around") {
  for (const AnalyticKind kind : kAll) {
    for (const std::int64_t pairs : {5, 32, 64}) {
      for (const std::uint64_t seed : {1, 2, 77}) {
        const AnalyticInstance instance(kind, pairs, seed);
        const std::vector<double> best = instance.optimal_factors();
        REQUIRE(best.size() == static_cast<std::size_t>(pairs));
        CHECK(instance.value(best) == Approx(1.0).epsilon(1e-14));
        CHECK(instance.optimum() == 1.0);
        for (std::size_t i = 0; i < best.size(); ++i) {
          CHECK(best[i] >= 1.0);
          CHECK(best[i] <= 1.25 * instance.space().scale);
          if (i > 0) CHECK(best[i - 1] <= best[i]);
        }
        CHECK(instance.value(instance.space().yarn_factors) > 1.001);
        std::mt19937_64 generator(seed);
        std::normal_distribution<double> normal(0.0, 1.0);
        for (const double size : {1e-4, 1e-2, 0.3}) {
          std::vector<double> step(best.size());
          for (double& x : step) x = size * normal(generator);
          CHECK(moved(instance, step) > 1.0);
        }
      }
    }
  }
}

TEST_CASE("instances differ by seed and repeat for the same one") {
  for (const AnalyticKind kind : kAll) {
    const AnalyticInstance a(kind, 32, 4), b(kind, 32, 4), c(kind, 32, 5);
    CHECK(a.optimal_factors() == b.optimal_factors());
    CHECK(a.optimal_factors() != c.optimal_factors());
    CHECK(a.value(a.space().pi_factors) == b.value(a.space().pi_factors));
  }
}

TEST_CASE("separable and rotated objectives have three decades of curvature") {
  for (const AnalyticKind kind : {AnalyticKind::separable, AnalyticKind::rotated}) {
    const std::size_t n = 32;
    const auto h = hessian(AnalyticInstance(kind, static_cast<std::int64_t>(n), 3));
    const std::vector<double> a = three_decades(n);
    double trace = 0.0, square = 0.0, off_diagonal = 0.0, expected_square = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      trace += h[i][i];
      expected_square += 4.0 * a[i] * a[i] / static_cast<double>(n * n);
      for (std::size_t j = 0; j < n; ++j) {
        square += h[i][j] * h[i][j];
        if (i != j) off_diagonal = std::max(off_diagonal, std::abs(h[i][j]));
      }
    }
    // Invariant under rotation: the sum of the eigenvalues and of their squares.
    CHECK(trace == Approx(2.0).epsilon(1e-9));
    CHECK(square == Approx(expected_square).epsilon(1e-9));
    if (kind == AnalyticKind::separable) {
      CHECK(off_diagonal < 1e-9);
      std::vector<double> diagonal(n);
      for (std::size_t i = 0; i < n; ++i) diagonal[i] = h[i][i];
      std::sort(diagonal.begin(), diagonal.end(), std::greater<>());
      CHECK(diagonal.front() / diagonal.back() == Approx(1e3).epsilon(1e-6));
    } else {
      CHECK(off_diagonal > 0.01);
    }
  }
}

TEST_CASE("beyond the critical pair the wall makes a smaller factor dearer than a larger one") {
  const AnalyticInstance walled(AnalyticKind::wall, 64, 9);
  const auto critical = static_cast<std::size_t>(walled.space().critical_pair_of(1.0));
  const std::vector<double> best = walled.optimal_factors();
  REQUIRE(critical + 1 < best.size());
  for (std::size_t i = critical; i < best.size(); ++i) CHECK(best[i] >= walled.space().scale * (1.0 - 1e-12));
  std::vector<double> down(best.size(), 0.0), up(best.size(), 0.0);
  down[critical] = -0.5;
  up[critical] = 0.5;
  CHECK(moved(walled, down) - 1.0 > 1.5 * (moved(walled, up) - 1.0));
  down[critical] = up[critical] = 0.0;
  down[2] = -0.5;
  up[2] = 0.5;
  CHECK(moved(walled, down) == Approx(moved(walled, up)).epsilon(1e-12));
}

TEST_CASE("bad factors are NaN and other names are refused") {
  const AnalyticInstance instance(AnalyticKind::ripple, 32, 1);
  std::vector<double> factors = instance.optimal_factors();
  factors[7] = -1.0;
  CHECK(std::isnan(instance.value(factors)));
  factors[7] = 0.0;
  CHECK(std::isnan(instance.value(factors)));
  CHECK(analytic_names().size() == 10);
  for (const std::string& name : analytic_names()) CHECK(make_analytic_problem(name)->name() == name);
  CHECK_THROWS_AS(make_analytic_problem("wall-33"), longrope::InputError);
}
