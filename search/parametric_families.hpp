// Families of factor curves with a handful of parameters, as log λ relative to the space's base: where a search starts.
#pragma once

#include <Eigen/Core>

#include "search/space.hpp"

namespace longrope::search {

/// YaRN (arXiv 2309.00071) with everything free: w_i/(k s) r_i^p + w_i (1 - r_i^p), r_i the ramp between the pairs that
/// turn beta_fast and beta_slow times within L0 (not rounded to whole pairs, so that the curve is smooth in the betas);
/// and a cut: pairs that turn fewer than `cut` times are interpolated in full, wherever the ramp is. With a beta_slow
/// below the cut the curve rises slowly over the pairs that training has shown most of a period of, and jumps to k s
/// where it has not.
struct YarnFamily {
  double scale_ratio = 1.0;  ///< k
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double exponent = 1.0;  ///< p
  double cut = 0.0;       ///< turns within L0; 0: no cut
};
/// [pairs]
Eigen::VectorXd yarn_family(const Space& space, const YarnFamily& parameters);

/// A ramp and a step, in powers of s: log λ / log s rises as level x^p from the pair that turns `start` times within L0
/// (x = 0) to the pair that turns `step` times (x = 1), and is that of top_ratio s from there on; the pair that the
/// step falls into is between the two, so that the curve is continuous in `step`. A pair that never completed half a
/// turn within L0 meets angles it has not seen unless it is interpolated whole; the others need only part of it.
struct RampStepFamily {
  double start = 18.0;
  double exponent = 1.2;   ///< p
  double level = 0.55;     ///< before the step
  double step = 0.5;       ///< turns, below start
  double top_ratio = 1.0;  ///< after it, of s
};
/// [pairs]
Eigen::VectorXd ramp_step_family(const Space& space, const RampStepFamily& parameters);

/// LongRoPE2's first population (arXiv 2502.20082, Algorithm 1): k s from the critical pair on, (k s)^(i / critical)
/// below it. [pairs]
Eigen::VectorXd longrope2_family(const Space& space, double scale_ratio, std::int64_t critical_pair);

}  // namespace longrope::search
