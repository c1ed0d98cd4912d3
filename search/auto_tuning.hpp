// The numbers of `auto`, chosen on two small models at 8x; none is particular to a model: betas and starts count turns
// within L0, scales are relative to s, distances are in units of the kernel.
#pragma once

#include <cstdint>
#include <vector>

#include "search/parametric_families.hpp"

namespace longrope::search {

struct AutoTuning {
  /// The first generation: ramps with a step (of 800 those that did best on other text than what the bench searches on,
  /// at 4x, 8x and 16x, and one for a model whose step comes later), then curves of the YaRN family, then LongRoPE2's
  /// where its bounds are used.
  std::vector<RampStepFamily> steps = {{17.0, 1.7, 0.6, 0.66, 0.95},
                                       {10.0, 1.2, 0.55, 0.47, 1.0},
                                       {18.0, 1.0, 0.7, 0.66, 0.95},
                                       {21.0, 1.2, 0.42, 0.61, 1.1}};
  std::vector<YarnFamily> yarns = {{1.0, 32.0, 0.4, 1.2, 0.6}, {1.0, 20.0, 0.65, 1.4}};
  /// Generations in which the surrogate chooses among curves of the families alone, and the samples it chooses from.
  std::int32_t family_generations = 2;
  int family_samples = 1000;
  double yarn_share = 0.2;  ///< of the samples; the others are ramps with a step
  /// Candidates of a generation: in the families, and after.
  std::int64_t family_batch = 2, batch = 3;
  /// Trust region: first radius, limits, and factors after a generation that did or did not improve (by success in
  /// log).
  double first_radius = 0.5, largest_radius = 2.0, smallest_radius = 0.15;
  double grow = 1.4, shrink = 0.8, success = 1e-5;
  /// Log objectives beyond the best are compressed as c log(1 + x/c): how bad a bad candidate is does not matter.
  double compression = 0.03;
  /// Hyperparameters are fitted anew when the data have grown by this factor.
  double refit = 1.15;
  int fit_iterations = 25;
  /// The batch minimises mean - k deviation for these k, in turn.
  std::vector<double> bounds = {0.0, 0.5, 1.0};
};

}  // namespace longrope::search
