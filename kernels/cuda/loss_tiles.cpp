// Losses through tiles of logits: a product per tile, then one pass over it.
#include <algorithm>
#include <array>

#include "kernels/cuda/loss.hpp"

namespace longrope::kernels::cuda {
namespace {

// A tile of logits is at most 8192 x 8192 float32, 256 MiB: products large enough to run at full rate.
constexpr std::int64_t kTileMultiple = 128;

/// The fewest tiles that cover the vocabulary, as equal as their granularity allows.
std::int64_t tile_size(std::int64_t vocabulary) {
  const std::int64_t tiles = (vocabulary + kMaxLogitTile - 1) / kMaxLogitTile;
  const std::int64_t size = (vocabulary + tiles - 1) / tiles;
  return std::min(kMaxLogitTile, (size + kTileMultiple - 1) / kTileMultiple * kTileMultiple);
}

constexpr std::array kImplementations{LossImplementation{"hopper", loss_hopper_supports, loss_hopper},
                                      LossImplementation{"tiles", loss_tiles_supports, loss_tiles}};

}  // namespace

std::span<const LossImplementation> loss_implementations() { return kImplementations; }

bool loss_tiles_supports(const LossProblem&) { return true; }

void loss_tiles(const Context& context, const LossProblem& problem) {
  const std::int64_t block = std::min(problem.rows, kLossRows);
  const std::int64_t size = tile_size(problem.vocabulary);
  const DeviceMemory logits = context.device.allocate(block * size * bytes_of(DType::f32));
  const DeviceMemory states = context.device.allocate(block * static_cast<std::int64_t>(sizeof(LogitState)));
  const std::int64_t row_bytes = problem.columns * bytes_of(DType::bf16);
  for (std::int64_t begin = 0; begin < problem.rows; begin += block) {
    for (std::int64_t first = 0; first < problem.vocabulary; first += size) {
      GemmCall call;
      call.weight = static_cast<const char*>(problem.weight) + first * row_bytes;
      call.x = static_cast<const char*>(problem.x) + begin * row_bytes;
      call.y = logits.get();
      call.y_dtype = DType::f32;
      call.rows = std::min(block, problem.rows - begin);
      call.in = problem.columns;
      call.out = std::min(size, problem.vocabulary - first);
      call.y_stride = size;
      context.gemm.run(call);
      LogitTile tile;
      tile.logits = as<const float>(logits);
      tile.stride = size;
      tile.rows = call.rows;
      tile.first_entry = first;
      tile.count = call.out;
      tile.targets = problem.targets + begin;
      tile.states = as<LogitState>(states);
      if (first + size >= problem.vocabulary) tile.nll = problem.nll + begin;
      launch_logit_sums(tile, stream());
    }
  }
}

}  // namespace longrope::kernels::cuda
