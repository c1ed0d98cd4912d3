// Analytic monotone objectives in z = log λ whose optimum is known: what a search meets in a model, without the model.
// All are 1 at the optimum and larger everywhere else. Their kinds are those of the simulation that the strategies were
// planned on: separable, rotated, coupled with an out-of-distribution wall, the same with ripple, and a jagged optimum.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/benchmarks/strategies/problem.hpp"

namespace longrope::bench {

enum class AnalyticKind : std::uint8_t {
  separable,  ///< sum of a_i u_i^2, u = z - z*, a over three decades in random order
  rotated,    ///< the same in a random orthogonal basis
  wall,       ///< neighbouring pairs coupled by a smoothing kernel; pairs beyond the critical one pay for λ < s
  ripple,     ///< wall, and a cosine ripple in every coordinate
  rough,      ///< the coupled objective with a jagged optimum
};

/// "separable-32", ..., "rough-64": every kind with 32 and 64 factors.
std::vector<std::string> analytic_names();

/// Throws InputError for a name that is not of analytic_names().
std::unique_ptr<Problem> make_analytic_problem(const std::string& name);

/// One objective, for tests: its optimum can be asked for.
class AnalyticInstance : public Instance {
 public:
  /// pairs: number of factors, >= 4. The optimum is monotone, within 1 and 1.25 s, drawn from the seed.
  AnalyticInstance(AnalyticKind kind, std::int64_t pairs, std::uint64_t seed);

  const search::Space& space() const override { return space_; }
  std::vector<Score> score(std::span<const search::Candidate> candidates) override;
  std::vector<double> held_out(std::span<const search::Candidate> candidates) override;
  double optimum() const override { return 1.0; }

  /// The value at factors λ [pairs]; NaN unless all are finite and positive.
  double value(std::span<const double> factors) const;
  /// λ of the optimum [pairs].
  std::vector<double> optimal_factors() const;

 private:
  std::vector<double> transformed(const std::vector<double>& u) const;

  AnalyticKind kind_;
  search::Space space_;
  std::vector<double> optimum_;  ///< z* [pairs]
  std::vector<double> weights_;  ///< a [pairs], mean 1
  std::vector<double> matrix_;   ///< rotation or kernel [pairs, pairs]; empty: none
  std::int64_t critical_ = 0;    ///< first pair behind the wall
};

}  // namespace longrope::bench
