// The numbers of `auto`, chosen on two small models at 8x; none is particular to a model: betas count turns within L0,
// scales are relative to s, distances are in units of the kernel.
#pragma once

#include <cstdint>

#include "search/parametric_families.hpp"

namespace longrope::search {

/// The first generation (and LongRoPE2's curve after these, in LongRoPE2's bounds). Compared with YaRN all are smoother
/// where the ramp starts and end it later, at pairs that turn once in two contexts.
inline constexpr YarnFamily kDesign[] = {{1.0, 32.0, 0.4, 1.2, 0.6},  {1.0, 24.0, 0.3, 1.3, 0.45},
                                         {1.0, 20.0, 0.65, 1.4, 0.0}, {1.0, 24.0, 0.3, 1.25, 0.6},
                                         {1.1, 16.0, 0.5, 1.0, 0.45}, {1.0, 8.0, 1.0, 1.25, 0.0}};
/// Generations in which the surrogate chooses among curves of the YaRN family alone.
inline constexpr std::int32_t kFamilyGenerations = 1;
/// Trust region: first radius, limits, and factors after a generation that did or did not improve (by kSuccess in log).
inline constexpr double kFirstRadius = 0.5, kLargestRadius = 2.0, kSmallestRadius = 0.15;
inline constexpr double kGrow = 1.4, kShrink = 0.8, kSuccess = 1e-5;
/// Log objectives beyond the best are compressed as c log(1 + x/c): how bad a bad candidate is does not matter.
inline constexpr double kCompression = 0.03;
/// Hyperparameters are fitted anew when the data have grown by this factor.
inline constexpr double kRefit = 1.15;
inline constexpr int kFitIterations = 25, kFamilySamples = 400;
/// The batch minimises mean - k deviation for these k.
inline constexpr double kBounds[] = {0.0, 0.7, 2.0};

}  // namespace longrope::search
