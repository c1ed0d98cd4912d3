#include "search/surrogate_step.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "search/pair_basis.hpp"

namespace longrope::search {
namespace {

constexpr int kStarts = 3, kIterations = 40;

}  // namespace

Eigen::VectorXd SurrogateStep::rearranged(RandomStream& random) const {
  const Eigen::Index pairs = factors.pairs();
  Eigen::VectorXd point = centre;
  const auto pick = [&](Eigen::Index count) {
    return std::min(static_cast<Eigen::Index>(random.uniform() * static_cast<double>(count)), count - 1);
  };
  const Eigen::Index first = pick(pairs), last = std::min(pairs - 1, first + pick(std::max<Eigen::Index>(pairs / 4, 1)));
  const double kind = random.uniform();
  if (kind < 0.4) {  // a block moves
    point.segment(first, last - first + 1).array() += 0.12 * random.normal();
  } else if (kind < 0.7) {  // a block becomes a plateau, at the height of one of its pairs
    point.segment(first, last - first + 1).setConstant(centre[first + pick(last - first + 1)]);
  } else {  // a stretch moves by a pair
    const Eigen::Index shift = random.uniform() < 0.5 ? 1 : -1;
    for (Eigen::Index i = first; i <= last; ++i) point[i] = centre[std::clamp<Eigen::Index>(i + shift, 0, pairs - 1)];
  }
  return point;
}

Eigen::VectorXd SurrogateStep::minimise(const GaussianProcess& process, double caution, RandomStream& random) const {
  const Eigen::MatrixXd& metric = process.metric();
  double allowed = radius;
  const auto inside = [&](const Eigen::VectorXd& free) {
    Eigen::VectorXd point = factors.repair(free);
    const Eigen::VectorXd step = point - centre;
    const double distance = std::sqrt(step.dot(metric * step));
    if (distance > allowed) point = factors.repair(centre + step * (allowed / distance));
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
  for (int start = 0; start < (moves > 0 ? kStarts + 1 : kStarts); ++start) {
    Eigen::VectorXd point = centre;
    if (start == kStarts) {
      allowed = move_radius * radius;
      double least = std::numeric_limits<double>::infinity();
      for (int move = 0; move < moves; ++move) {
        Eigen::VectorXd candidate = inside(rearranged(random));
        const auto [mean, deviation] = process.predict_value(candidate);
        if (mean - caution * deviation < least) {
          least = mean - caution * deviation;
          point = std::move(candidate);
        }
      }
    } else if (start > 0) {
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
