// A consumer of a Hopper attention block: one warpgroup that multiplies for 64 query rows and keeps their softmax.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/attention_hopper_rows.cuh"
#include "kernels/cuda/hopper_wgmma.cuh"

namespace longrope::kernels::cuda::hopper {

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

/// Computes this warpgroup's 64 rows of each tile of the block: `consumer` counts from 0.
template <class Config>
__device__ __forceinline__ void consume(const AttentionArguments& arguments,
                                        AttentionBarriers<Config::kStages>& barriers, SharedTiles<Config> shared,
                                        int consumer) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x % 128 / 32);
  const auto release = [lane](std::uint64_t& barrier) {
    if (lane == 0) barrier_arrive(barrier);
  };
  const Turns<Config::kConsumers> turns(consumer);

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
    release(barriers.v_empty[v_ring.stage]);
    v_ring.advance();
  };

  for (std::int64_t round = 0;; ++round) {
    const BlockTile<Config> tile(arguments, round);
    if (!tile.exists) return;
    const WarpgroupRows rows = warpgroup_rows<Config>(tile, arguments.window, consumer, warp, lane);
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
      release(barriers.k_empty[k_ring.stage]);
      k_ring.advance();
      mask_scores<Config>(scores, rows, arguments.window, n, lane);
      statistics.update(scores);
      pack_probabilities(scores, probabilities);

      for (--n; n >= tile.keys.begin; --n) {
        barrier_wait(barriers.k_full[k_ring.stage], k_ring.parity);
        turns.await();
        start_scores<Config>(scores, q, row_descriptor(shared.k(k_ring.stage)));
        barrier_wait(barriers.v_full[v_ring.stage], v_ring.parity);
        start_output<Config>(output, probabilities, column_descriptor(shared.v(v_ring.stage), Config::kTileKeys));
        turns.pass();
        wgmma_wait<1>();
        pin(scores);
        release(barriers.k_empty[k_ring.stage]);
        k_ring.advance();
        mask_scores<Config>(scores, rows, arguments.window, n, lane);
        const RowScale scale = statistics.update(scores);
        settle(statistics.sum[0] + statistics.sum[1], barriers.settled);
        wgmma_wait<0>();
        pin(output);
        pin(probabilities);
        release(barriers.v_empty[v_ring.stage]);
        v_ring.advance();
        pack_probabilities(scores, probabilities);
        rescale(output, scale);
      }
      release(barriers.q_empty);
      finish_output();
    } else {
      for (; n >= tile.keys.begin; --n) {
        barrier_wait(barriers.k_full[k_ring.stage], k_ring.parity);
        turns.await();
        start_scores<Config>(scores, q, row_descriptor(shared.k(k_ring.stage)));
        turns.pass();
        wgmma_wait<0>();
        pin(scores);
        release(barriers.k_empty[k_ring.stage]);
        k_ring.advance();
        if (n == tile.keys.begin) release(barriers.q_empty);
        mask_scores<Config>(scores, rows, arguments.window, n, lane);
        const RowScale scale = statistics.update(scores);
        pack_probabilities(scores, probabilities);
        rescale(output, scale);
        finish_output();
      }
    }
    statistics.finish();
    store_rows<Config>(arguments, tile.query.head, tile.query.first_row + 64 * consumer + 16 * warp + lane / 4, output,
                       statistics, lane);
  }
}

}  // namespace longrope::kernels::cuda::hopper
