#include "kernels/cuda/logit_tiles.hpp"

#include <algorithm>

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

/// The product of a tile of at most `size` entries from `first` on, but for its rows and what it writes.
GemmCall tile_product(const LogitProblem& problem, std::int64_t first, std::int64_t size) {
  GemmCall call;
  call.weight = static_cast<const char*>(problem.weight) + first * problem.columns * bytes_of(DType::bf16);
  call.y_dtype = DType::f32;
  call.in = problem.columns;
  call.out = std::min(size, problem.vocabulary - first);
  call.y_stride = size;
  return call;
}

}  // namespace

void prepare_logit_tiles(const Context& context, const LogitProblem& problem) {
  const std::int64_t size = tile_size(problem.vocabulary);
  for (std::int64_t first = 0; first < problem.vocabulary; first += size) {
    context.gemm.prepare(tile_product(problem, first, size));
  }
}

void for_each_logit_tile(const Context& context, const LogitProblem& problem,
                         const std::function<void(const LogitBlock&)>& visit) {
  const std::int64_t block = std::min(problem.rows, kLogitRows);
  const std::int64_t size = tile_size(problem.vocabulary);
  const DeviceMemory logits = context.device.allocate(block * size * bytes_of(DType::f32));
  const std::int64_t row_bytes = problem.columns * bytes_of(DType::bf16);
  for (std::int64_t begin = 0; begin < problem.rows; begin += block) {
    for (std::int64_t first = 0; first < problem.vocabulary; first += size) {
      GemmCall call = tile_product(problem, first, size);
      call.x = static_cast<const char*>(problem.x) + begin * row_bytes;
      call.y = logits.get();
      call.rows = std::min(block, problem.rows - begin);
      context.gemm.run(call);
      visit({as<const float>(logits), size, begin, call.rows, first, call.out, first + size >= problem.vocabulary});
    }
  }
}

}  // namespace longrope::kernels::cuda
