// What every consumer of a Hopper attention block does beside its products: taking turns, masking, writing its rows.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/attention_hopper_block.cuh"
#include "kernels/cuda/attention_hopper_softmax.cuh"

namespace longrope::kernels::cuda::hopper {

/// The consumers' turns at the tensor cores, in their order; the first begins.
template <int kConsumers>
class Turns {
 public:
  __device__ __forceinline__ explicit Turns(int consumer) : consumer_(consumer) {
    if (consumer + 1 == kConsumers) pass();
  }
  /// Until this warpgroup may issue its products.
  __device__ __forceinline__ void await() const { named_barrier_sync(kTurn + consumer_, kPair); }
  __device__ __forceinline__ void pass() const {
    named_barrier_arrive(kTurn + (consumer_ + 1 == kConsumers ? 0 : consumer_ + 1), kPair);
  }

 private:
  static constexpr int kTurn = 1;    // named barriers kTurn + consumer
  static constexpr int kPair = 256;  // threads at such a barrier: its warpgroup and the one before
  int consumer_;
};

/// One warpgroup's rows of one tile.
struct WarpgroupRows {
  std::int64_t position;  ///< of this thread's first row; its second is 8 further
  KeyTiles whole;         ///< key tiles that need no mask
};

template <class Config>
__device__ __forceinline__ WarpgroupRows warpgroup_rows(const BlockTile<Config>& tile, std::int64_t window,
                                                        int consumer, int warp, int lane) {
  const std::int64_t first = tile.first + 64 * consumer;
  return {first + 16 * warp + lane / 4, whole_key_tiles(first, first + 63, window, Config::kTileKeys)};
}

/// Sets scores of keys a row does not see to -inf, where the tile has any.
template <class Config>
__device__ __forceinline__ void mask_scores(float (&scores)[Config::kTileKeys / 2], const WarpgroupRows& rows,
                                            std::int64_t window, int n, int lane) {
  if (n >= rows.whole.begin && n < rows.whole.end) return;
  // Column of the tile that is this thread's own key, from the thread's first column.
  const int own = static_cast<int>(rows.position - static_cast<std::int64_t>(n) * Config::kTileKeys) - 2 * (lane % 4);
  const int reach = window > 0 ? static_cast<int>(window) : 1 << 30;
  mask_beyond(scores, own, reach);
}

/// Writes this thread's two rows, `row` and the one 8 further, where the problem has them.
template <class Config>
__device__ __forceinline__ void store_rows(const AttentionArguments& arguments, int head, std::int64_t row,
                                           const float (&output)[Config::kHeadDim / 2], const RowStatistics& statistics,
                                           int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::int64_t r = row + 8 * half;
    __nv_bfloat16* const out = arguments.out + (r * arguments.heads + head) * arguments.head_dim;
    store_row(out, r < arguments.rows ? static_cast<int>(arguments.head_dim) : 0, output, half,
              statistics.inverse_sum(half), lane);
  }
}

}  // namespace longrope::kernels::cuda::hopper
