// What scoring a window costs, in floating-point operations: what "full evaluations" are counted in.
#pragma once

#include <span>
#include <vector>

#include "model/model_config.hpp"
#include "model/windows.hpp"
#include "search/window_passes.hpp"

namespace longrope::search {

/// Multiplications and additions of the matrix products and the attention of one window: 2 per weight and token for the
/// projections, the MLP and (scored positions only) the LM head; 4 per query, key and channel for causal attention, of
/// which a query sees on average half the window, or its sliding window. Norms, rotation and softmax are left out.
double window_flops(const model::ModelConfig& config, const model::Window& window);

/// Shares of the sum over all windows: [W]; the windows of a pass bear its cost in equal parts.
std::vector<double> window_cost_shares(const model::ModelConfig& config, std::span<const WindowPass> passes);

}  // namespace longrope::search
