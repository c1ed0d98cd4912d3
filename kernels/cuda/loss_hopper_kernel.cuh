// The output projection and the softmax normaliser in one Hopper kernel: logits live in the registers of the products
// that make them, and leave as one maximum and one sum per row and 256 vocabulary entries. A block multiplies 128 rows
// by 256 entries: one warpgroup copies (TMA), two multiply (wgmma) 64 rows each. Two blocks with the same entries form
// a cluster and copy each half of the weights to both, which halves what L2 must deliver.
// The scheme of the product is that of CUTLASS's cooperative, warp-specialised Hopper kernels.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_hopper_layout.hpp"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/hopper_wgmma.cuh"
#include "kernels/cuda/launches.hpp"
#include "kernels/cuda/loss_hopper_tiles.hpp"

namespace longrope::kernels::cuda::hopper {

inline constexpr int kLossStages = 4;
inline constexpr int kLossConsumers = 2;
inline constexpr int kLossThreads = 128 * (1 + kLossConsumers);
inline constexpr std::uint32_t kLossRowBytes = panel_bytes(kLossTileRows);  ///< 64 columns of x
inline constexpr std::uint32_t kLossWeightBytes = panel_bytes(kLossTileColumns);
inline constexpr std::uint32_t kLossStageBytes = kLossRowBytes + kLossWeightBytes;
inline constexpr std::uint32_t kLossSharedBytes = kLossStages * kLossStageBytes + kSwizzleAtomBytes;

/// A LossProblem as the kernel takes it. The tensor maps' extents are exactly [rows, 1, columns] and [vocabulary, 1,
/// columns], boxes 128 rows: what a box reads beyond them is zero.
struct LossArguments {
  CUtensorMap x;
  CUtensorMap weight;
  const std::int32_t* targets;
  LogitPartial* partials;  ///< [order.column_tiles, rows]
  float* target_logits;    ///< [rows]
  std::int64_t rows;
  std::int64_t vocabulary;
  LossOrder order;
  int steps;  ///< of 64 columns
};

struct LossBarriers {
  std::uint64_t full[kLossStages], empty[kLossStages];
};

/// Addresses of the stages in shared memory.
struct LossStages {
  std::uint32_t first;

  __device__ __forceinline__ std::uint32_t x(int stage) const {
    return first + static_cast<std::uint32_t>(stage) * kLossStageBytes;
  }
  __device__ __forceinline__ std::uint32_t weight(int stage) const { return x(stage) + kLossRowBytes; }
};

/// One thread. Loads this block's rows and its half of the cluster's weights, step by step; each block's barrier waits
/// for both halves, and a stage is free when the consumers of both blocks have released it.
__device__ __forceinline__ void produce_loss(const LossArguments& arguments, LossBarriers& barriers, LossStages shared,
                                             int rank) {
  constexpr std::uint16_t kEveryBlock = (1U << kLossCluster) - 1;
  constexpr int kShare = kLossTileColumns / kLossCluster;
  prefetch_tensor_map(arguments.x);
  prefetch_tensor_map(arguments.weight);
  RingPosition<kLossStages> ring;
  const std::int64_t tiles = arguments.order.tiles();
  for (std::int64_t index = blockIdx.x / kLossCluster; index < tiles; index += gridDim.x / kLossCluster) {
    const LossTile tile = arguments.order.at(index);
    const int row = static_cast<int>(tile.row_tile + rank) * kLossTileRows;
    const int entry = static_cast<int>(tile.column_tile) * kLossTileColumns + rank * kShare;
    for (int step = 0; step < arguments.steps; ++step) {
      std::uint64_t& full = barriers.full[ring.stage];
      barrier_wait(barriers.empty[ring.stage], ring.parity ^ 1U);
      barrier_arrive_expect(full, kLossStageBytes);
      copy_box(shared.x(ring.stage), arguments.x, full, step * kPanelColumns, 0, row);
      copy_box_to(kEveryBlock, shared.weight(ring.stage) + static_cast<std::uint32_t>(rank) * panel_bytes(kShare),
                  arguments.weight, full, step * kPanelColumns, 0, entry);
      ring.advance();
    }
  }
}

/// What four neighbouring threads hold between them, the same in all four.
__device__ __forceinline__ float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFU, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xFFFFFFFFU, value, 2));
}
__device__ __forceinline__ float quad_sum(float value) {
  value += __shfl_xor_sync(0xFFFFFFFFU, value, 1);
  return value + __shfl_xor_sync(0xFFFFFFFFU, value, 2);
}

/// Maximum and sum of this thread's first (half 0) or second row over the tile's first `entries` columns; of the quad's
/// threads each holds a quarter of the row (hopper_wgmma.cuh). All threads of the warp.
__device__ __forceinline__ LogitPartial summarise(float (&logits)[kLossTileColumns / 2], int half, int entries,
                                                  int lane) {
  constexpr float kLog2E = 1.44269504088896340736F;
  constexpr int kGroups = kLossTileColumns / 8;
  const float lowest = -__int_as_float(0x7F800000);
  float poison[2] = {0.0F, 0.0F};  // 0 while all logits are finite, NaN after one that is not
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
#pragma unroll
    for (int c = 0; c < 2; ++c) poison[c] += logits[4 * j + 2 * half + c] * 0.0F;
  }
  if (entries < kLossTileColumns) {
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        if (8 * j + 2 * (lane % 4) + c >= entries) logits[4 * j + 2 * half + c] = lowest;
      }
    }
  }
  float max[2] = {lowest, lowest};
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
#pragma unroll
    for (int c = 0; c < 2; ++c) max[c] = fmaxf(max[c], logits[4 * j + 2 * half + c]);
  }
  LogitPartial partial;
  partial.max = quad_max(fmaxf(max[0], max[1]));
  float sum[2] = {poison[0], poison[1]};
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      sum[c] += exp2_approximate((logits[4 * j + 2 * half + c] - partial.max) * kLog2E);
    }
  }
  partial.sum = quad_sum(sum[0] + sum[1]);
  return partial;
}

/// The logit in column `column` of the tile, if this thread holds it.
__device__ __forceinline__ void store_target(const float (&logits)[kLossTileColumns / 2], int half, int column,
                                             int lane, float* target_logit) {
  if (column < 0 || column >= kLossTileColumns || column % 8 / 2 != lane % 4) return;
  float value = 0.0F;
#pragma unroll
  for (int j = 0; j < kLossTileColumns / 8; ++j) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      if (8 * j + c == column - 2 * (lane % 4)) value = logits[4 * j + 2 * half + c];
    }
  }
  *target_logit = value;
}

/// Computes this warpgroup's 64 rows of each tile of the block: `consumer` counts from 0.
__device__ __forceinline__ void consume_loss(const LossArguments& arguments, LossBarriers& barriers, LossStages shared,
                                             int rank, int consumer) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x % 128 / 32);
  const auto release = [&](int stage) {
    if (lane < kLossCluster) barrier_arrive_at(barriers.empty[stage], lane);
  };
  RingPosition<kLossStages> ring;
  float logits[kLossTileColumns / 2];
  const std::int64_t tiles = arguments.order.tiles();
  for (std::int64_t index = blockIdx.x / kLossCluster; index < tiles; index += gridDim.x / kLossCluster) {
    const LossTile tile = arguments.order.at(index);
    const std::int64_t first_row = (tile.row_tile + rank) * kLossTileRows + 64 * consumer + 16 * warp + lane / 4;
    const std::int64_t first_entry = tile.column_tile * kLossTileColumns;
    int target[2];  // columns of the tile, where they lie in it
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t row = first_row + 8 * half;
      target[half] = row < arguments.rows ? static_cast<int>(arguments.targets[row] - first_entry) : -1;
    }

    int previous = 0;
    for (int step = 0; step < arguments.steps; ++step) {
      barrier_wait(barriers.full[ring.stage], ring.parity);
      const std::uint64_t x =
          row_descriptor(shared.x(ring.stage) + static_cast<std::uint32_t>(consumer) * panel_bytes(64));
      const std::uint64_t weight = row_descriptor(shared.weight(ring.stage));
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kPanelColumns / kInstructionK; ++k) {
        Wgmma<kLossTileColumns>::ss(logits, x + row_step(k, kLossTileRows), weight + row_step(k, kLossTileColumns),
                                    step + k);
      }
      wgmma_commit();
      if (step > 0) {
        wgmma_wait<1>();
        release(previous);
      }
      previous = ring.stage;
      ring.advance();
    }
    wgmma_wait<0>();
    pin(logits);
    release(previous);

    const std::int64_t left = arguments.vocabulary - first_entry;
    const int entries = left < kLossTileColumns ? static_cast<int>(left) : kLossTileColumns;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t row = first_row + 8 * half;
      store_target(logits, half, target[half], lane, arguments.target_logits + row);
      const LogitPartial partial = summarise(logits, half, entries, lane);
      if (lane % 4 == 0 && row < arguments.rows) arguments.partials[tile.column_tile * arguments.rows + row] = partial;
    }
  }
}

/// Grid: a multiple of kLossCluster blocks, in clusters of that many, kLossThreads threads, kLossSharedBytes of dynamic
/// shared memory; the clusters share all tiles. Empty unless compiled for sm_90a; then alone it has static shared
/// memory, which is how the host tells.
__global__ void __launch_bounds__(kLossThreads, 1) loss_hopper_kernel(const __grid_constant__ LossArguments arguments) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ std::uint8_t dynamic_shared[];
  __shared__ LossBarriers barriers;
  const LossStages shared{(shared_address(dynamic_shared) + kSwizzleAtomBytes - 1) / kSwizzleAtomBytes *
                          kSwizzleAtomBytes};
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kLossStages; ++stage) {
      barrier_init(barriers.full[stage], 1);
      barrier_init(barriers.empty[stage], 4 * kLossConsumers * kLossCluster);  // each consumer warp for itself
    }
    fence_barrier_init();
  }
  cluster_sync();

  const int rank = cluster_rank();
  const int warpgroup = __shfl_sync(0xFFFFFFFFU, static_cast<int>(threadIdx.x / 128), 0);  // uniform, and known to be
  if (warpgroup == 0) {
    registers_shrink<40>();
    if (threadIdx.x == 0) produce_loss(arguments, barriers, shared, rank);
  } else {
    registers_grow<232>();
    consume_loss(arguments, barriers, shared, rank, warpgroup - 1);
  }
  cluster_sync();  // the other block copies into this one's memory, and arrives at its barriers, to the end
#endif
}

}  // namespace longrope::kernels::cuda::hopper
