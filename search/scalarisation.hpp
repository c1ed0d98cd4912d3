// Several objectives as one: the augmented Chebyshev distance of log objectives to the best seen (Steuer and Choo,
// 1983), under a small set of weights that generations take in turn.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "search/generational_strategy.hpp"

namespace longrope::search {

/// Weights of `generation`, [objectives], sum 1: all equal, then nearly all on each objective, then halfway.
std::vector<double> weights_of_generation(std::int32_t generation, std::size_t objectives);

/// One objective: its logarithm. Several: max_k w_k l_k + 0.1 sum_k w_k l_k, l_k = log objective_k - log of the lowest
/// objective_k told. NaN where an objective is NaN or not positive. [told.size()]
std::vector<double> scalarise(std::span<const Individual> told, std::span<const double> weights);

}  // namespace longrope::search
