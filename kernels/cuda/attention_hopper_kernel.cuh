// Causal attention on Hopper: one warpgroup copies tiles of K and V into a ring in shared memory, two or three
// warpgroups of 64 query rows each multiply (wgmma) and keep the softmax in registers. The design is FlashAttention-3's
// (Shah et al. 2024, arXiv 2407.08608): the scores of the next key tile are computed while the softmax of this one
// runs, and warpgroups take turns at the tensor cores.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/attention_hopper_layout.hpp"
#include "kernels/cuda/attention_hopper_softmax.cuh"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/hopper_wgmma.cuh"

namespace longrope::kernels::cuda::hopper {

/// What is fixed at compile time. kHeadDim: 64, 128 or 256, columns beyond the problem's head_dim are zeros. kTileKeys:
/// keys per step. kConsumers: warpgroups that compute. kStages: tiles of K, and of V, in flight. kOverlap: the next
/// QK^T runs during the softmax. kPingPong: warpgroups take turns at issuing their products. kSkipRescale: leave the
/// output alone when no row of a warp has a new maximum (the factor is 1: same bits). kCluster: blocks, with
/// neighbouring heads of one kv head, that each load their share of every K and V tile for all.
template <int kHeadDim_, int kTileKeys_, int kConsumers_, int kStages_, bool kOverlap_ = true, bool kPingPong_ = true,
          bool kSkipRescale_ = true, int kCluster_ = 1>
struct AttentionConfig {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kTileKeys = kTileKeys_;
  static constexpr int kConsumers = kConsumers_;
  static constexpr int kStages = kStages_;
  static constexpr bool kOverlap = kOverlap_;
  static constexpr bool kPingPong = kPingPong_;
  static constexpr bool kSkipRescale = kSkipRescale_;
  static constexpr int kCluster = kCluster_;

  static constexpr int kTileRows = 64 * kConsumers;
  static constexpr int kThreads = 128 * (1 + kConsumers);
  // The 65536 registers of a multiprocessor, dealt anew: setmaxnreg wants multiples of 8.
  static constexpr int kProducerRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 232 : 160;
  static constexpr std::uint32_t kQueryBytes = tile_bytes(kTileRows, kHeadDim);
  static constexpr std::uint32_t kKeyBytes = tile_bytes(kTileKeys, kHeadDim);
  static constexpr std::uint32_t kSharedBytes = kQueryBytes + 2 * kStages * kKeyBytes + kSwizzleAtomBytes;
  static_assert(kHeadDim % kPanelColumns == 0 && kTileKeys % kInstructionK == 0 && kTileKeys <= 256);
  static_assert(kTileKeys % (8 * kCluster) == 0);
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

/// The tile a block computes in a round, and what it covers.
template <class Config>
struct BlockTile {
  QueryTile query;
  std::int64_t first = 0;  ///< position of its first row
  KeyTiles keys;
  bool exists = false;

  __device__ __forceinline__ BlockTile(const AttentionArguments& arguments, std::int64_t round) {
    const std::int64_t index = tile_index(round, blockIdx.x / Config::kCluster, gridDim.x / Config::kCluster);
    exists = index < arguments.order.tiles;
    if (!exists) return;
    query = arguments.order.at(index);
    if constexpr (Config::kCluster > 1) query.head = query.head * Config::kCluster + cluster_rank();
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

// ---- The producer: one thread.

template <class Config>
__device__ __forceinline__ void copy_tile(std::uint32_t destination, const CUtensorMap& map, std::uint64_t& barrier,
                                          int rows, int head, int first_row) {
#pragma unroll
  for (int panel = 0; panel < Config::kHeadDim / kPanelColumns; ++panel) {
    copy_box(destination + static_cast<std::uint32_t>(panel) * panel_bytes(rows), map, barrier, panel * kPanelColumns,
             head, first_row);
  }
}

/// This block's share of a tile of K or V, sent to all blocks of the cluster; each announces the whole tile.
template <class Config>
__device__ __forceinline__ void copy_key_tile(std::uint32_t destination, const CUtensorMap& map, std::uint64_t& barrier,
                                              int head, int first_key) {
  barrier_arrive_expect(barrier, Config::kKeyBytes);
  if constexpr (Config::kCluster == 1) {
    copy_tile<Config>(destination, map, barrier, Config::kTileKeys, head, first_key);
  } else {
    constexpr int kShare = Config::kTileKeys / Config::kCluster;
    const int rank = cluster_rank();
#pragma unroll
    for (int panel = 0; panel < Config::kHeadDim / kPanelColumns; ++panel) {
      copy_box_to((1U << Config::kCluster) - 1,
                  destination + static_cast<std::uint32_t>(panel) * panel_bytes(Config::kTileKeys) +
                      static_cast<std::uint32_t>(rank) * panel_bytes(kShare),
                  map, barrier, panel * kPanelColumns, head, first_key + rank * kShare);
    }
  }
}

/// Loads, for each tile of this block, Q, then K from the last key tile to the first with V one tile behind: the order
/// in which the consumers ask for them.
template <class Config>
__device__ __forceinline__ void produce(const AttentionArguments& arguments,
                                        AttentionBarriers<Config::kStages>& barriers, SharedTiles<Config> shared) {
  prefetch_tensor_map(arguments.q);
  prefetch_tensor_map(arguments.k);
  prefetch_tensor_map(arguments.v);
  RingPosition<Config::kStages> k_ring, v_ring;
  for (std::int64_t round = 0;; ++round) {
    const BlockTile<Config> tile(arguments, round);
    if (!tile.exists) return;
    const int kv_head = tile.query.head / arguments.heads_per_kv_head;

    barrier_wait(barriers.q_empty, (static_cast<std::uint32_t>(round) & 1U) ^ 1U);
    barrier_arrive_expect(barriers.q_full, Config::kQueryBytes);
    copy_tile<Config>(shared.q, arguments.q, barriers.q_full, Config::kTileRows, tile.query.head,
                      static_cast<int>(tile.query.first_row));

    for (int n = tile.keys.end - 1; n >= tile.keys.begin - 1; --n) {
      if (n >= tile.keys.begin) {
        barrier_wait(barriers.k_empty[k_ring.stage], k_ring.parity ^ 1U);
        copy_key_tile<Config>(shared.k(k_ring.stage), arguments.k, barriers.k_full[k_ring.stage], kv_head,
                              n * Config::kTileKeys);
        k_ring.advance();
      }
      if (n < tile.keys.end - 1) {
        barrier_wait(barriers.v_empty[v_ring.stage], v_ring.parity ^ 1U);
        copy_key_tile<Config>(shared.v(v_ring.stage), arguments.v, barriers.v_full[v_ring.stage], kv_head,
                              (n + 1) * Config::kTileKeys);
        v_ring.advance();
      }
    }
  }
}

// ---- A consumer: one warpgroup, 64 query rows.

/// Starts scores = Q K^T for this warpgroup's rows and one key tile.
template <class Config>
__device__ __forceinline__ void start_scores(float (&scores)[Config::kTileKeys / 2], std::uint64_t q, std::uint64_t k) {
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < Config::kHeadDim / kInstructionK; ++step) {
    Wgmma<Config::kTileKeys>::ss(scores, q + row_step(step, Config::kTileRows), k + row_step(step, Config::kTileKeys),
                                 step == 0 ? 0 : 1);
  }
  wgmma_commit();
}

/// Starts output += P V for this warpgroup's rows and one key tile.
template <class Config>
__device__ __forceinline__ void start_output(float (&output)[Config::kHeadDim / 2],
                                             const std::uint32_t (&probabilities)[Config::kTileKeys / 4],
                                             std::uint64_t v) {
  constexpr int kColumns = Config::kHeadDim < 128 ? Config::kHeadDim : 128;  // of one instruction
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < Config::kTileKeys / kInstructionK; ++step) {
#pragma unroll
    for (int part = 0; part < Config::kHeadDim / kColumns; ++part) {
      WgmmaRs<kColumns>::rs(output + part * (kColumns / 2), probabilities + 4 * step,
                            v + column_step(step, part * (kColumns / kPanelColumns), Config::kTileKeys));
    }
  }
  wgmma_commit();
}

/// One warpgroup's rows of one tile.
struct WarpgroupRows {
  std::int64_t position;  ///< of this thread's first row; its second is 8 further
  KeyTiles whole;         ///< key tiles that need no mask
};

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

template <class Config>
__device__ __forceinline__ void consume(const AttentionArguments& arguments,
                                        AttentionBarriers<Config::kStages>& barriers, SharedTiles<Config> shared,
                                        int consumer) {
  constexpr int kTurn = 1;  // named barriers kTurn + consumer: that warpgroup may issue its products
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x % 128 / 32);
  const auto release = [lane](std::uint64_t& barrier) {
    if (lane == 0) barrier_arrive(barrier);
  };
  const auto release_keys = [lane, release](std::uint64_t& barrier) {  // in every block that copies into this one
    if constexpr (Config::kCluster == 1) {
      release(barrier);
    } else {
      if (lane < Config::kCluster) barrier_arrive_at(barrier, lane);
    }
  };
  const auto await_turn = [consumer] {
    if constexpr (Config::kPingPong) named_barrier_sync(kTurn + consumer, 256);
  };
  const auto pass_turn = [consumer] {
    if constexpr (Config::kPingPong) {
      named_barrier_arrive(kTurn + (consumer + 1 == Config::kConsumers ? 0 : consumer + 1), 256);
    }
  };
  if (consumer + 1 == Config::kConsumers) pass_turn();  // the first warpgroup begins

  const std::uint64_t q = row_descriptor(shared.q + static_cast<std::uint32_t>(consumer) * panel_bytes(64));
  RingPosition<Config::kStages> k_ring, v_ring;
  float scores[Config::kTileKeys / 2];
  std::uint32_t probabilities[Config::kTileKeys / 4];
  float output[Config::kHeadDim / 2];
  const auto finish_output = [&] {
    barrier_wait(barriers.v_full[v_ring.stage], v_ring.parity);
    start_output<Config>(output, probabilities, column_descriptor(shared.v(v_ring.stage), Config::kTileKeys));
    wgmma_wait<0>();
    pin(output);
    release_keys(barriers.v_empty[v_ring.stage]);
    v_ring.advance();
  };

  for (std::int64_t round = 0;; ++round) {
    const BlockTile<Config> tile(arguments, round);
    if (!tile.exists) return;
    const std::int64_t first = tile.first + 64 * consumer;
    const WarpgroupRows rows{first + 16 * warp + lane / 4,
                             whole_key_tiles(first, first + 63, arguments.window, Config::kTileKeys)};
    RowStatistics statistics;
#pragma unroll
    for (float& value : output) value = 0;

    barrier_wait(barriers.q_full, static_cast<std::uint32_t>(round) & 1U);
    int n = tile.keys.end - 1;
    if constexpr (Config::kOverlap) {
      barrier_wait(barriers.k_full[k_ring.stage], k_ring.parity);
      start_scores<Config>(scores, q, row_descriptor(shared.k(k_ring.stage)));
      wgmma_wait<0>();
      pin(scores);
      release_keys(barriers.k_empty[k_ring.stage]);
      k_ring.advance();
      mask_scores<Config>(scores, rows, arguments.window, n, lane);
      statistics.update(scores);
      pack_probabilities(scores, probabilities);

      for (--n; n >= tile.keys.begin; --n) {
        barrier_wait(barriers.k_full[k_ring.stage], k_ring.parity);
        await_turn();
        start_scores<Config>(scores, q, row_descriptor(shared.k(k_ring.stage)));
        barrier_wait(barriers.v_full[v_ring.stage], v_ring.parity);
        start_output<Config>(output, probabilities, column_descriptor(shared.v(v_ring.stage), Config::kTileKeys));
        pass_turn();
        wgmma_wait<1>();
        pin(scores);
        release_keys(barriers.k_empty[k_ring.stage]);
        k_ring.advance();
        mask_scores<Config>(scores, rows, arguments.window, n, lane);
        const RowScale scale = statistics.update(scores);
        settle(statistics.sum[0] + statistics.sum[1], barriers.settled);
        wgmma_wait<0>();
        pin(output);
        pin(probabilities);
        release_keys(barriers.v_empty[v_ring.stage]);
        v_ring.advance();
        pack_probabilities(scores, probabilities);
        rescale<Config::kSkipRescale>(output, scale);
      }
      release(barriers.q_empty);
      finish_output();
    } else {
      for (; n >= tile.keys.begin; --n) {
        barrier_wait(barriers.k_full[k_ring.stage], k_ring.parity);
        await_turn();
        start_scores<Config>(scores, q, row_descriptor(shared.k(k_ring.stage)));
        pass_turn();
        wgmma_wait<0>();
        pin(scores);
        release_keys(barriers.k_empty[k_ring.stage]);
        k_ring.advance();
        if (n == tile.keys.begin) release(barriers.q_empty);
        mask_scores<Config>(scores, rows, arguments.window, n, lane);
        const RowScale scale = statistics.update(scores);
        pack_probabilities(scores, probabilities);
        rescale<Config::kSkipRescale>(output, scale);
        finish_output();
      }
    }
    statistics.finish();
    const std::int64_t row = tile.query.first_row + 64 * consumer + 16 * warp + lane / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t r = row + 8 * half;
      __nv_bfloat16* const out = arguments.out + (r * arguments.heads + tile.query.head) * arguments.head_dim;
      store_row(out, r < arguments.rows ? static_cast<int>(arguments.head_dim) : 0, output, half,
                statistics.inverse_sum(half), lane);
    }
  }
}

/// Block: Config::kThreads threads, Config::kSharedBytes of dynamic shared memory. Any grid size up to the number of
/// tiles: blocks share them all. Empty unless compiled for sm_90a; then alone it has static shared memory, which is how
/// the host tells.
template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    attention_hopper_kernel(const __grid_constant__ AttentionArguments arguments) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ std::uint8_t dynamic_shared[];
  __shared__ AttentionBarriers<Config::kStages> barriers;
  const SharedTiles<Config> shared{(shared_address(dynamic_shared) + kSwizzleAtomBytes - 1) / kSwizzleAtomBytes *
                                   kSwizzleAtomBytes};
  if (threadIdx.x == 0) {
    constexpr std::uint32_t kWarps = 4 * Config::kConsumers;  // each consumer warp releases for itself
    barrier_init(barriers.q_full, 1);
    barrier_init(barriers.q_empty, kWarps);
    for (int stage = 0; stage < Config::kStages; ++stage) {
      barrier_init(barriers.k_full[stage], 1);
      barrier_init(barriers.k_empty[stage], kWarps * Config::kCluster);
      barrier_init(barriers.v_full[stage], 1);
      barrier_init(barriers.v_empty[stage], kWarps * Config::kCluster);
    }
    fence_barrier_init();
  }
  __syncthreads();
  if constexpr (Config::kCluster > 1) cluster_sync();

  const int warpgroup = __shfl_sync(0xFFFFFFFFU, static_cast<int>(threadIdx.x / 128), 0);  // uniform, and known to be
  if (warpgroup == 0) {
    registers_shrink<Config::kProducerRegisters>();
    if (threadIdx.x == 0) produce<Config>(arguments, barriers, shared);
  } else {
    registers_grow<Config::kConsumerRegisters>();
    consume<Config>(arguments, barriers, shared, warpgroup - 1);
  }
  if constexpr (Config::kCluster > 1) cluster_sync();  // others copy into this block's memory to the end
#endif
}

}  // namespace longrope::kernels::cuda::hopper
