#include "search/evaluation_cost.hpp"

#include <algorithm>
#include <numeric>

namespace longrope::search {

double window_flops(const model::ModelConfig& config, const model::Window& window) {
  const auto hidden = static_cast<double>(config.hidden_size), tokens = static_cast<double>(window.length - 1);
  const auto query = static_cast<double>(config.heads * config.head_dim);
  const auto key_value = static_cast<double>(2 * config.kv_heads * config.head_dim);
  const double layer_weights =
      hidden * (query + key_value) + query * hidden + 3.0 * hidden * static_cast<double>(config.intermediate_size);
  double flops = 2.0 * hidden * static_cast<double>(config.vocabulary) * static_cast<double>(window.scored_tokens());
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const auto at = static_cast<std::size_t>(layer);
    const std::int64_t sliding = at < config.sliding_window.size() ? config.sliding_window[at] : 0;
    const double reach = sliding > 0 ? std::min(tokens, static_cast<double>(sliding)) : tokens;
    const double pairs = reach * (tokens - reach) + reach * (reach + 1.0) / 2.0;  // (query, key), causal
    flops += 2.0 * layer_weights * tokens + 4.0 * query * pairs;
  }
  return flops;
}

std::vector<double> window_cost_shares(const model::ModelConfig& config, std::span<const WindowPass> passes) {
  std::size_t windows = 0;
  for (const WindowPass& pass : passes) windows += pass.windows.size();
  std::vector<double> shares(windows);
  for (const WindowPass& pass : passes) {
    const double part = window_flops(config, pass.scored) / static_cast<double>(pass.windows.size());
    for (const std::size_t w : pass.windows) shares[w] = part;
  }
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= sum;
  return shares;
}

}  // namespace longrope::search
