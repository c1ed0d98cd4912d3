#include "search/release_moves.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "search/generational_strategy.hpp"

namespace longrope::search {
namespace {

double to_float32(double value) { return static_cast<double>(static_cast<float>(value)); }

/// The values dimension i may take, given the others.
Arange choices(std::span<const double> factors, std::size_t i, double grid_max) {
  const std::size_t last = factors.size() - 1;
  if (last == 0) return {1.0, grid_max + kReleaseStep, kReleaseStep};  // the original fails on a single dimension
  if (i == 0) return {1.0, factors[1], kReleaseStep};
  if (i == last) return {factors[i - 1], grid_max + kReleaseStep, kReleaseStep};
  return {factors[i - 1], factors[i + 1] + kReleaseStep, kReleaseStep};
}

/// Number of rotations -> dimension (YaRN's find_correction_dim).
double correction_dim(const model::RopeGeometry& geometry, double rotations) {
  return (static_cast<double>(geometry.rotary_dim) *
          std::log(static_cast<double>(geometry.original_length) / (rotations * 2.0 * std::numbers::pi))) /
         (2.0 * std::log(geometry.theta));
}

}  // namespace

std::int64_t Arange::size() const {
  const double length = std::ceil((stop - start) / step);
  return length > 0.0 ? static_cast<std::int64_t>(length) : 0;
}

double Arange::operator[](std::int64_t k) const {
  const double second = start + step;  // numpy computes the first two and goes on by their difference
  if (k == 1) return second;
  return start + static_cast<double>(k) * (second - start);
}

bool release_allclose(std::span<const double> a, std::span<const double> b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<float>(a[i]), y = static_cast<float>(b[i]);
    if (!(std::fabs(x - y) <= 1e-8f + 1e-5f * std::fabs(y))) return false;
  }
  return true;
}

bool ReleaseHistory::contains(std::span<const double> factors) const {
  return std::any_of(members_.begin(), members_.end(),
                     [&](const std::vector<double>& member) { return release_allclose(member, factors); });
}

std::vector<double> release_first_individual(const Space& space) {
  const model::RopeGeometry& geometry = space.geometry;
  const double low = std::max(std::floor(correction_dim(geometry, space.release_beta_fast)), 0.0);
  double high = std::min(std::ceil(correction_dim(geometry, space.release_beta_slow)),
                         static_cast<double>(geometry.rotary_dim - 1));
  if (low == high) high += 0.001;
  std::vector<double> factors(static_cast<std::size_t>(geometry.pairs()));
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const float linear = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float mask = 1.0f - std::clamp(linear, 0.0f, 1.0f);
    factors[i] = static_cast<double>(static_cast<float>(space.scale) * (1.0f - mask) + mask);
  }
  return factors;
}

std::vector<double> release_mutate(std::span<const double> parent, double scale, const ReleaseHistory& history,
                                   RandomStream& random) {
  const Arange grid{1.0, 1.0 + scale + kReleaseStep, kReleaseStep};
  const double grid_max = grid[grid.size() - 1];
  std::vector<double> factors(parent.begin(), parent.end());
  std::vector<double> last_non_decreasing = factors;
  for (int sweep = 0;; ++sweep) {
    if (is_non_decreasing(factors)) {
      if (!history.contains(factors)) return factors;
      last_non_decreasing = factors;
    }
    if (sweep == kReleaseMaxSweeps) return last_non_decreasing;
    for (std::size_t i = 0; i < factors.size(); ++i) {
      if (!(random.uniform() < kReleaseProbability)) continue;
      const Arange values = choices(factors, i, grid_max);
      const std::int64_t size = values.size();
      if (size > 0) {
        factors[i] = to_float32(values[static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(size)))]);
      }
    }
  }
}

std::vector<double> release_crossover(std::span<const double> better, std::span<const double> worse,
                                      const ReleaseHistory& history, RandomStream& random) {
  if (release_allclose(better, worse)) return {};
  std::vector<double> factors(better.begin(), better.end());
  for (int attempt = 0; attempt < kReleaseCrossoverTries; ++attempt) {
    for (std::size_t i = 0; i < factors.size(); ++i) {
      if (!(random.uniform() < kReleaseProbability)) continue;
      if (random.uniform() < 0.5) factors[i] = worse[i];
      if (is_non_decreasing(factors) && !history.contains(factors)) return factors;
    }
  }
  return {};
}

}  // namespace longrope::search
