#include "experiments/benchmarks/strategies/analytic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "kernels/error.hpp"
#include "model/scaling_methods.hpp"
#include "search/random.hpp"

namespace longrope::bench {
namespace {

constexpr std::pair<AnalyticKind, const char*> kKinds[] = {{AnalyticKind::separable, "separable"},
                                                           {AnalyticKind::rotated, "rotated"},
                                                           {AnalyticKind::wall, "wall"},
                                                           {AnalyticKind::ripple, "ripple"},
                                                           {AnalyticKind::rough, "rough"}};
constexpr std::int64_t kPairs[] = {32, 64};
constexpr double kScale = 8.0;
constexpr std::int64_t kOriginalLength = 4096;
constexpr double kTheta = 10000.0;
constexpr double kDecades = 3.0;          // condition number 1e3
constexpr double kKernelWidth = 1.5;      // pairs
constexpr double kUncoupled = 0.05;       // share of the objective that sees each pair alone
constexpr double kWall = 3.0;             // weight of the wall
constexpr double kRipple = 0.003;         // its height
constexpr double kRippleLength = 0.15;    // in log λ
constexpr std::uint32_t kStage = 0xbe00;  // keeps these draws apart from the strategies'

/// Draws for one purpose of one instance.
class Draws {
 public:
  Draws(std::uint64_t seed, AnalyticKind kind, std::uint32_t purpose)
      : stream_(seed, kStage + static_cast<std::uint32_t>(kind), purpose, 0, search::Purpose::random) {}
  double uniform(double low, double high) { return low + (high - low) * stream_.uniform(); }
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - stream_.uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * stream_.uniform());
  }
  std::uint64_t below(std::uint64_t n) { return stream_.below(n); }

 private:
  search::RandomStream stream_;
};

/// Increasing z* from about 0 to between ln s and ln 1.2 s: a bump of increments around the critical pair, modulated
/// smoothly, or by the cube of an exponential variable where it is to be jagged.
std::vector<double> draw_optimum(Draws& draws, std::int64_t pairs, double critical, bool jagged) {
  const double n = static_cast<double>(pairs);
  const double centre = critical * draws.uniform(0.7, 1.0), width = 0.12 * n * draws.uniform(0.7, 1.5);
  double amplitude[3], phase[3];
  for (int k = 0; k < 3; ++k) {
    amplitude[k] = 0.5 * draws.normal();
    phase[k] = draws.uniform(0.0, 2.0 * std::numbers::pi);
  }
  std::vector<double> z(static_cast<std::size_t>(pairs));
  double sum = 0.0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double x = static_cast<double>(i);
    double increment = 0.05 + std::exp(-0.5 * (x - centre) * (x - centre) / (width * width));
    if (jagged) {
      increment *= std::pow(-std::log(1.0 - draws.uniform(0.0, 1.0)), 3.0);
    } else {
      double modulation = 0.0;
      for (int k = 0; k < 3; ++k)
        modulation += amplitude[k] * std::cos(2.0 * std::numbers::pi * (k + 1) * x / n + phase[k]);
      increment *= std::exp(modulation);
    }
    sum += increment;
    z[i] = sum;
  }
  const double top = std::log(kScale * draws.uniform(1.0, 1.2));
  for (double& value : z) value *= top / sum;
  return z;
}

/// Random orthogonal rows: Gaussian ones, orthogonalised twice (Gram-Schmidt).
std::vector<double> draw_rotation(Draws& draws, std::size_t n) {
  std::vector<double> q(n * n);
  for (std::size_t r = 0; r < n; ++r) {
    double* row = &q[r * n];
    for (std::size_t c = 0; c < n; ++c) row[c] = draws.normal();
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t other = 0; other < r; ++other) {
        const double* base = &q[other * n];
        const double dot = std::inner_product(row, row + n, base, 0.0);
        for (std::size_t c = 0; c < n; ++c) row[c] -= dot * base[c];
      }
    }
    const double norm = std::sqrt(std::inner_product(row, row + n, row, 0.0));
    for (std::size_t c = 0; c < n; ++c) row[c] /= norm;
  }
  return q;
}

/// Rows of a Gaussian kernel over the pair index, each of sum 1.
std::vector<double> smoothing_kernel(std::size_t n) {
  std::vector<double> kernel(n * n);
  for (std::size_t r = 0; r < n; ++r) {
    double sum = 0.0;
    for (std::size_t c = 0; c < n; ++c) {
      const double distance = (static_cast<double>(r) - static_cast<double>(c)) / kKernelWidth;
      sum += kernel[r * n + c] = std::exp(-0.5 * distance * distance);
    }
    for (std::size_t c = 0; c < n; ++c) kernel[r * n + c] /= sum;
  }
  return kernel;
}

class AnalyticProblem : public Problem {
 public:
  AnalyticProblem(std::string name, AnalyticKind kind, std::int64_t pairs)
      : name_(std::move(name)), kind_(kind), pairs_(pairs) {}
  std::string name() const override { return name_; }
  std::string identity() const override {
    return fmt::format("analytic 1: {} pairs, s {}, L0 {}, theta {}", pairs_, kScale, kOriginalLength, kTheta);
  }
  std::shared_ptr<Instance> instance(std::uint64_t seed) override {
    return std::make_shared<AnalyticInstance>(kind_, pairs_, seed);
  }

 private:
  std::string name_;
  AnalyticKind kind_;
  std::int64_t pairs_;
};

}  // namespace

AnalyticInstance::AnalyticInstance(AnalyticKind kind, std::int64_t pairs, std::uint64_t seed) : kind_(kind) {
  space_.geometry = {2 * pairs, kTheta, kOriginalLength};
  space_.scale = kScale;
  space_.pi_factors = model::pi_factors(space_.geometry, kScale);
  space_.ntk_factors = model::ntk_factors(space_.geometry, kScale);
  space_.yarn_factors = model::yarn_factors(space_.geometry, kScale);
  critical_ = space_.critical_pair_of(1.0);

  Draws optimum_draws(seed, kind, 0);
  optimum_ = draw_optimum(optimum_draws, pairs, static_cast<double>(critical_), kind == AnalyticKind::rough);
  if (kind == AnalyticKind::wall || kind == AnalyticKind::ripple) {
    for (std::size_t i = static_cast<std::size_t>(critical_); i < optimum_.size(); ++i)
      optimum_[i] = std::max(optimum_[i], std::log(kScale));
  }

  const std::size_t n = optimum_.size();
  Draws weight_draws(seed, kind, 1);
  weights_.assign(n, 1.0);
  if (kind == AnalyticKind::separable || kind == AnalyticKind::rotated) {
    for (std::size_t i = 0; i < n; ++i)
      weights_[i] = std::pow(10.0, -kDecades * static_cast<double>(i) / static_cast<double>(n - 1));
    for (std::size_t i = n - 1; i > 0; --i) std::swap(weights_[i], weights_[weight_draws.below(i + 1)]);
    const double mean = std::accumulate(weights_.begin(), weights_.end(), 0.0) / static_cast<double>(n);
    for (double& weight : weights_) weight /= mean;
    if (kind == AnalyticKind::rotated) matrix_ = draw_rotation(weight_draws, n);
  } else {
    matrix_ = smoothing_kernel(n);
  }
}

std::vector<double> AnalyticInstance::transformed(const std::vector<double>& u) const {
  if (matrix_.empty()) return u;
  const std::size_t n = u.size();
  std::vector<double> v(n);
  for (std::size_t r = 0; r < n; ++r) v[r] = std::inner_product(u.begin(), u.end(), &matrix_[r * n], 0.0);
  return v;
}

double AnalyticInstance::value(std::span<const double> factors) const {
  const std::size_t n = optimum_.size();
  std::vector<double> u(n);
  for (std::size_t i = 0; i < n; ++i) u[i] = std::log(factors[i]) - optimum_[i];
  const std::vector<double> v = transformed(u);
  double sum = 0.0;
  for (std::size_t i = 0; i < n; ++i) sum += weights_[i] * v[i] * v[i];
  const bool coupled = kind_ != AnalyticKind::separable && kind_ != AnalyticKind::rotated;
  for (std::size_t i = 0; coupled && i < n; ++i) sum += kUncoupled * u[i] * u[i];
  if (kind_ == AnalyticKind::wall || kind_ == AnalyticKind::ripple) {
    for (std::size_t i = static_cast<std::size_t>(critical_); i < n; ++i) {
      const double missing = std::max(0.0, std::log(kScale) - std::log(factors[i]));
      sum += kWall * missing * missing;
    }
  }
  double value = 1.0 + sum / static_cast<double>(n);
  if (kind_ == AnalyticKind::ripple) {
    double ripple = 0.0;
    for (const double x : u) ripple += 1.0 - std::cos(2.0 * std::numbers::pi * x / kRippleLength);
    value += kRipple * ripple / static_cast<double>(n);
  }
  return std::isfinite(value) ? value : std::numeric_limits<double>::quiet_NaN();
}

std::vector<double> AnalyticInstance::optimal_factors() const {
  std::vector<double> factors(optimum_.size());
  std::transform(optimum_.begin(), optimum_.end(), factors.begin(), [](double z) { return std::exp(z); });
  return factors;
}

std::vector<Score> AnalyticInstance::score(std::span<const search::Candidate> candidates) {
  std::vector<Score> scores;
  for (const search::Candidate& candidate : candidates) scores.push_back({value(candidate.factors), 0.0});
  return scores;
}

std::vector<double> AnalyticInstance::held_out(std::span<const search::Candidate> candidates) {
  return std::vector<double>(candidates.size(), std::numeric_limits<double>::quiet_NaN());
}

std::vector<std::string> analytic_names() {
  std::vector<std::string> names;
  for (const std::int64_t pairs : kPairs) {
    for (const auto& [kind, name] : kKinds) names.push_back(fmt::format("{}-{}", name, pairs));
  }
  return names;
}

std::unique_ptr<Problem> make_analytic_problem(const std::string& name) {
  for (const std::int64_t pairs : kPairs) {
    for (const auto& [kind, kind_name] : kKinds) {
      if (name == fmt::format("{}-{}", kind_name, pairs)) return std::make_unique<AnalyticProblem>(name, kind, pairs);
    }
  }
  throw InputError(fmt::format("[--problem] must be model, analytic or one of {} but got \"{}\"",
                               fmt::join(analytic_names(), ", "), name));
}

}  // namespace longrope::bench
