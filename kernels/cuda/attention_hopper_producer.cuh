// The producer of a Hopper attention block: one thread that copies tiles of Q, K and V into shared memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_hopper_block.cuh"

namespace longrope::kernels::cuda::hopper {

/// Starts the copies of a bf16 tile, with the bytes to expect announced first.
template <class Config>
struct Bf16Copies {
  static __device__ __forceinline__ void queries(std::uint32_t destination, const CUtensorMap& map,
                                                 std::uint64_t& barrier, int head, int first_row) {
    barrier_arrive_expect(barrier, Config::kQueryBytes);
    panels(destination, map, barrier, Config::kTileRows, head, first_row);
  }
  static __device__ __forceinline__ void keys(std::uint32_t destination, const CUtensorMap& map, std::uint64_t& barrier,
                                              int head, int tile) {
    barrier_arrive_expect(barrier, Config::kKeyBytes);
    panels(destination, map, barrier, Config::kTileKeys, head, tile * Config::kTileKeys);
  }
  static __device__ __forceinline__ void values(std::uint32_t destination, const CUtensorMap& map,
                                                std::uint64_t& barrier, int head, int tile) {
    keys(destination, map, barrier, head, tile);
  }

 private:
  static __device__ __forceinline__ void panels(std::uint32_t destination, const CUtensorMap& map,
                                                std::uint64_t& barrier, int rows, int head, int first_row) {
#pragma unroll
    for (int panel = 0; panel < Config::kHeadDim / kPanelColumns; ++panel) {
      copy_box(destination + static_cast<std::uint32_t>(panel) * panel_bytes(rows), map, barrier, panel * kPanelColumns,
               head, first_row);
    }
  }
};

/// Loads, for each tile of this block, Q, then K from the last key tile to the first with V one tile behind: the order
/// in which the consumers ask for them.
template <class Config, class Copies>
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
    Copies::queries(shared.q, arguments.q, barriers.q_full, tile.query.head, static_cast<int>(tile.query.first_row));

    for (int n = tile.keys.end - 1; n >= tile.keys.begin - 1; --n) {
      if (n >= tile.keys.begin) {
        barrier_wait(barriers.k_empty[k_ring.stage], k_ring.parity ^ 1U);
        Copies::keys(shared.k(k_ring.stage), arguments.k, barriers.k_full[k_ring.stage], kv_head, n);
        k_ring.advance();
      }
      if (n < tile.keys.end - 1) {
        barrier_wait(barriers.v_empty[v_ring.stage], v_ring.parity ^ 1U);
        Copies::values(shared.v(v_ring.stage), arguments.v, barriers.v_full[v_ring.stage], kv_head, n + 1);
        v_ring.advance();
      }
    }
  }
}

}  // namespace longrope::kernels::cuda::hopper
