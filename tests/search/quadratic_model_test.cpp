#include "search/quadratic_model.hpp"

#include <vector>

#include "search/random.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;

namespace {

Eigen::MatrixXd random_points(Eigen::Index n, Eigen::Index dimension) {
  Eigen::MatrixXd points(n, dimension);
  RandomStream random(5, 0, static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(dimension), Purpose::random);
  for (Eigen::Index i = 0; i < n; ++i) {
    for (Eigen::Index j = 0; j < dimension; ++j) points(i, j) = random.normal();
  }
  return points;
}

}  // namespace

TEST_CASE("the quadratic surrogate recovers what its form can express") {
  using Form = QuadraticModel::Form;
  const Eigen::Index d = 5;
  struct Case {
    Eigen::Index points;
    Form form;
    double own, mixed;  // coefficients of x_i^2 and x_i x_{i+1}
  };
  for (const Case& c : {Case{4, Form::constant, 0.0, 0.0}, Case{7, Form::linear, 0.0, 0.0},
                        Case{13, Form::diagonal, 0.7, 0.0}, Case{24, Form::full, 0.7, -0.4}}) {
    const auto f = [&](const Eigen::VectorXd& x) {
      double value = 2.0;
      if (c.form == Form::constant) return value;
      for (Eigen::Index i = 0; i < d; ++i) value += static_cast<double>(i - 2) * x[i] + c.own * x[i] * x[i];
      for (Eigen::Index i = 0; i + 1 < d; ++i) value += c.mixed * x[i] * x[i + 1];
      return value;
    };
    const Eigen::MatrixXd points = random_points(c.points, d), elsewhere = random_points(10, d);
    Eigen::VectorXd values(c.points);
    for (Eigen::Index i = 0; i < c.points; ++i) values[i] = f(points.row(i));
    const QuadraticModel model(points, values);
    CHECK(model.form() == c.form);
    for (Eigen::Index i = 0; i < 10; ++i)
      CHECK(model.predict(elsewhere.row(i)) == Approx(f(elsewhere.row(i))).epsilon(1e-8).margin(1e-8));
  }
}

TEST_CASE("Kendall's tau") {
  const std::vector<double> a{1, 2, 3, 4}, reversed{4, 3, 2, 1}, swapped{1, 2, 4, 3}, tied{1, 1, 1, 1};
  CHECK(kendall_tau(a, a) == 1.0);
  CHECK(kendall_tau(a, reversed) == -1.0);
  CHECK(kendall_tau(a, swapped) == Approx(4.0 / 6.0));
  CHECK(kendall_tau(a, tied) == 0.0);
  CHECK(kendall_tau(std::span(a).first(1), std::span(a).first(1)) == 0.0);
}
