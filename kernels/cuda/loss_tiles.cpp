// Losses through tiles of logits: a product per tile, then one pass over it.
#include <algorithm>
#include <array>

#include "kernels/cuda/logit_tiles.hpp"
#include "kernels/cuda/loss.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr std::array kImplementations{LossImplementation{"hopper", loss_hopper_supports, loss_hopper},
                                      LossImplementation{"tiles", loss_tiles_supports, loss_tiles}};

}  // namespace

std::span<const LossImplementation> loss_implementations() { return kImplementations; }

const LossImplementation& loss_for(const LossProblem& problem) {
  return *std::ranges::find_if(kImplementations, [&](const auto& loss) { return loss.supports(problem); });
}

bool loss_tiles_supports(const LossProblem&) { return true; }

void loss_tiles(const Context& context, const LossProblem& problem) {
  const std::int64_t block = std::min(problem.rows, kLogitRows);
  const DeviceMemory states = context.device.allocate(block * static_cast<std::int64_t>(sizeof(LogitState)));
  for_each_logit_tile(context, {problem.x, problem.weight, problem.rows, problem.columns, problem.vocabulary},
                      [&](const LogitBlock& logits) {
                        LogitTile tile;
                        tile.logits = logits.logits;
                        tile.stride = logits.stride;
                        tile.rows = logits.rows;
                        tile.first_entry = logits.first_entry;
                        tile.count = logits.count;
                        tile.targets = problem.targets + logits.first_row;
                        tile.states = as<LogitState>(states);
                        if (logits.last) tile.nll = problem.nll + logits.first_row;
                        launch_logit_sums(tile, stream());
                      });
}

}  // namespace longrope::kernels::cuda
