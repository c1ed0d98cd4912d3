// What the producer and the consumers of a Hopper attention block share: the configuration, the problem, the barriers,
// the addresses of the tiles and the order of the work.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/attention_hopper_layout.hpp"
#include "kernels/cuda/attention_hopper_schedule.hpp"
#include "kernels/cuda/hopper.cuh"

namespace longrope::kernels::cuda::hopper {

/// What is fixed at compile time. kHeadDim: 64, 128 or 256, columns beyond the problem's head_dim are zeros. kTileKeys:
/// keys per step. kConsumers: warpgroups that compute, 64 query rows each. kStages: tiles of K, and of V, in flight.
/// kOverlap: the next QK^T runs during the softmax; its scores and these probabilities then hold registers together.
template <int kHeadDim_, int kTileKeys_, int kConsumers_, int kStages_, bool kOverlap_>
struct AttentionConfig {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kTileKeys = kTileKeys_;
  static constexpr int kConsumers = kConsumers_;
  static constexpr int kStages = kStages_;
  static constexpr bool kOverlap = kOverlap_;

  static constexpr int kTileRows = 64 * kConsumers;
  static constexpr int kThreads = 128 * (1 + kConsumers);
  // The 65536 registers of a multiprocessor, dealt anew: setmaxnreg wants multiples of 8.
  static constexpr int kProducerRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 232 : 160;
  static constexpr std::uint32_t kQueryBytes = tile_bytes(kTileRows, kHeadDim);
  static constexpr std::uint32_t kKeyBytes = tile_bytes(kTileKeys, kHeadDim);
  static constexpr std::uint32_t kSharedBytes = kQueryBytes + 2 * kStages * kKeyBytes + kSwizzleAtomBytes;
  static_assert(kHeadDim % kPanelColumns == 0 && kTileKeys % kInstructionK == 0 && kTileKeys <= 256);
  static_assert(kSharedBytes + 1024 <= 227 * 1024);
};

/// A problem as the kernel takes it; see AttentionProblem. The tensor maps' extents are exactly [rows, heads, head_dim]
/// and [keys, kv_heads, head_dim]: what a box reads beyond them is zero, so that stale memory never enters a product.
struct AttentionArguments {
  CUtensorMap q;
  CUtensorMap k;
  CUtensorMap v;
  __nv_bfloat16* out;
  std::int64_t heads;
  std::int64_t head_dim;
  std::int64_t rows;
  std::int64_t first_position;
  std::int64_t window;  ///< 0: none
  int heads_per_kv_head;
  TileOrder order;
};

template <int kStages>
struct AttentionBarriers {
  std::uint64_t q_full, q_empty;
  std::uint64_t k_full[kStages], k_empty[kStages];
  std::uint64_t v_full[kStages], v_empty[kStages];
  float settled;  ///< see settle()
};

template <class Config>
__device__ __forceinline__ void init_barriers(AttentionBarriers<Config::kStages>& barriers) {
  constexpr std::uint32_t kWarps = 4 * Config::kConsumers;  // each consumer warp releases for itself
  barrier_init(barriers.q_full, 1);
  barrier_init(barriers.q_empty, kWarps);
  for (int stage = 0; stage < Config::kStages; ++stage) {
    barrier_init(barriers.k_full[stage], 1);
    barrier_init(barriers.k_empty[stage], kWarps);
    barrier_init(barriers.v_full[stage], 1);
    barrier_init(barriers.v_empty[stage], kWarps);
  }
  fence_barrier_init();
}

/// The tile a block computes in a round, and what it covers.
template <class Config>
struct BlockTile {
  QueryTile query;
  std::int64_t first = 0;  ///< position of its first row
  KeyTiles keys;
  bool exists = false;

  __device__ __forceinline__ BlockTile(const AttentionArguments& arguments, std::int64_t round) {
    const std::int64_t index = tile_index(round, blockIdx.x, gridDim.x);
    exists = index < arguments.order.tiles;
    if (!exists) return;
    query = arguments.order.at(index);
    first = arguments.first_position + query.first_row;
    const std::int64_t rows_left = arguments.rows - query.first_row;
    const std::int64_t last = first + (rows_left < Config::kTileRows ? rows_left : Config::kTileRows) - 1;
    keys = visible_key_tiles(first, last, arguments.window, Config::kTileKeys);
  }
};

/// Addresses of the tiles in shared memory.
template <class Config>
struct SharedTiles {
  std::uint32_t q;

  __device__ __forceinline__ std::uint32_t k(int stage) const {
    return q + Config::kQueryBytes + static_cast<std::uint32_t>(stage) * Config::kKeyBytes;
  }
  __device__ __forceinline__ std::uint32_t v(int stage) const { return k(Config::kStages + stage); }
};

}  // namespace longrope::kernels::cuda::hopper
