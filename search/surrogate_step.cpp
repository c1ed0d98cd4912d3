#include "search/surrogate_step.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "search/pair_basis.hpp"

namespace longrope::search {
namespace {

constexpr int kStarts = 3, kIterations = 40;

}  // namespace

Eigen::VectorXd SurrogateStep::minimise(const GaussianProcess& process, double caution, RandomStream& random) const {
  const Eigen::MatrixXd& metric = process.metric();
  const auto inside = [&](const Eigen::VectorXd& free) {
    Eigen::VectorXd point = factors.repair(free);
    const Eigen::VectorXd step = point - centre;
    const double distance = std::sqrt(step.dot(metric * step));
    if (distance > radius) point = factors.repair(centre + step * (radius / distance));
    return point;
  };
  const auto lower_bound = [&](const Eigen::VectorXd& point, Eigen::VectorXd& gradient) {
    const GaussianProcess::Prediction p = process.predict(point);
    gradient = p.mean_gradient - caution * p.deviation_gradient;
    return p.mean - caution * p.deviation;
  };

  const Eigen::MatrixXd hats = hat_basis(factors.pairs(), 6);
  Eigen::VectorXd best;
  double lowest = std::numeric_limits<double>::infinity();
  for (int start = 0; start < kStarts; ++start) {
    Eigen::VectorXd point = centre;
    if (start > 0) {
      Eigen::VectorXd knots(hats.cols());
      for (double& knot : knots) knot = 0.15 * random.normal();
      point.head(factors.pairs()) += hats * knots;
      point = inside(point);
    }
    Eigen::VectorXd gradient;
    double value = lower_bound(point, gradient);
    double length = 0.1;  // of a step, in log λ of the steepest pair
    for (int iteration = 0; iteration < kIterations && length > 1e-5; ++iteration) {
      const double steepest = gradient.cwiseAbs().maxCoeff();
      if (!(steepest > 0.0)) break;
      Eigen::VectorXd next = inside(point - gradient * (length / steepest)), next_gradient;
      const double next_value = lower_bound(next, next_gradient);
      if (next_value < value) {
        point = std::move(next);
        gradient = std::move(next_gradient);
        value = next_value;
        length *= 1.5;
      } else {
        length *= 0.4;
      }
    }
    if (value < lowest) {
      lowest = value;
      best = std::move(point);
    }
  }
  return best;
}

}  // namespace longrope::search
