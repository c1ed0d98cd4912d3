// A consumer of an FP8 attention block: one warpgroup that multiplies for 64 query rows and keeps their softmax.
// Sums of e4m3 products have about 14 bits (hopper_wgmma_fp8.cuh): the output of one key tile is summed alone and added
// to the others' in float32.
#pragma once

#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/cuda/attention_fp8_block.cuh"
#include "kernels/cuda/attention_hopper_rows.cuh"
#include "kernels/cuda/hopper_wgmma_fp8.cuh"

namespace longrope::kernels::cuda::hopper {

/// Scores as products of quantised numbers. Terms are multiplied by 2^8, which the sum has in common with them: an e4m3
/// reaches from 2^-9 to 448, and weights down to 2^-18 of the row's largest are to be seen.
struct QuantizedScores {
  static constexpr float kTermExponent = 8.0F;
  float unit[2];  ///< of a score, in powers of two

  __device__ __forceinline__ float log2_unit(int h) const { return unit[h]; }
  static __device__ __forceinline__ float term_shift(float shift) { return shift - kTermExponent; }
};

/// Starts scores = Q K^T for this warpgroup's rows and one key tile.
template <class Config>
__device__ __forceinline__ void start_fp8_scores(float (&scores)[Config::kTileKeys / 2], std::uint64_t q,
                                                 std::uint64_t k) {
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < Config::kHeadDim / fp8::kInstructionK; ++step) {
    WgmmaFp8<Config::kTileKeys>::ss(scores, q + fp8::k_step(step), k + fp8::k_step(step), step == 0 ? 0 : 1);
  }
  wgmma_commit();
}

/// Starts partial = P V for this warpgroup's rows and one key tile.
template <class Config>
__device__ __forceinline__ void start_fp8_output(float (&partial)[Config::kHeadDim / 2],
                                                 const std::uint32_t (&probabilities)[Config::kTileKeys / 8],
                                                 std::uint64_t v) {
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < Config::kTileKeys / fp8::kInstructionK; ++step) {
    WgmmaFp8<Config::kHeadDim>::rs(partial, probabilities + 4 * step, v + fp8::k_step(step), step == 0 ? 0 : 1);
  }
  wgmma_commit();
}

/// Four floats as e4m3, the first in the lowest byte.
__device__ __forceinline__ std::uint32_t pack_e4m3(float a, float b, float c, float d) {
  const std::uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  const std::uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

/// Rounds terms to e4m3 as wgmma wants its A operand, whose columns are then those that fp8::value_position gives to V:
/// 4 registers per 32 columns.
template <int kCount>
__device__ __forceinline__ void pack_fp8_probabilities(const float (&terms)[kCount],
                                                       std::uint32_t (&packed)[kCount / 4]) {
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i) {
    const int first = i / 2 * 8 + i % 2 * 2;  // the thread's columns 16 (i / 2) and on, row i % 2
    packed[i] = pack_e4m3(terms[first], terms[first + 1], terms[first + 4], terms[first + 5]);
  }
}

/// Computes this warpgroup's 64 rows of each tile of the block: `consumer` counts from 0.
template <class Config>
__device__ __forceinline__ void consume_fp8(const Fp8AttentionArguments& all,
                                            AttentionBarriers<Config::kStages>& barriers, SharedTiles<Config> shared,
                                            int consumer) {
  const AttentionArguments& arguments = all.problem;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x % 128 / 32);
  const auto release = [lane](std::uint64_t& barrier) {
    if (lane == 0) barrier_arrive(barrier);
  };
  const Turns<Config::kConsumers> turns(consumer);
  const std::uint64_t q = row_descriptor(shared.q + static_cast<std::uint32_t>(consumer) * panel_bytes(64));
  RingPosition<Config::kStages> ring;  // of K and of V: both are asked for in the same step
  float output[Config::kHeadDim / 2];

  for (std::int64_t round = 0;; ++round) {
    const BlockTile<Config> tile(arguments, round);
    if (!tile.exists) return;
    const WarpgroupRows rows = warpgroup_rows<Config>(tile, arguments.window, consumer, warp, lane);
    const std::int64_t row = tile.query.first_row + 64 * consumer + 16 * warp + lane / 4;
    const float* const kv_scales = all.kv_scales + 2 * (tile.query.head / arguments.heads_per_kv_head);
    const auto unit_of = [&](std::int64_t r) {  // of rows beyond the last, which are zeros: any
      const float q_scale = r < arguments.rows ? all.q_scales[r * arguments.heads + tile.query.head] : 1.0F;
      return q_scale * kv_scales[0] * kLog2E;
    };
    const QuantizedScores units{{unit_of(row), unit_of(row + 8)}};
    RowStatistics statistics;
#pragma unroll
    for (float& value : output) value = 0;

    barrier_wait(barriers.q_full, static_cast<std::uint32_t>(round) & 1U);
    for (int n = tile.keys.end - 1; n >= tile.keys.begin; --n) {
      std::uint32_t probabilities[Config::kTileKeys / 8];
      RowScale scale;
      {
        float scores[Config::kTileKeys / 2];
        barrier_wait(barriers.k_full[ring.stage], ring.parity);
        turns.await();
        start_fp8_scores<Config>(scores, q, row_descriptor(shared.k(ring.stage)));
        turns.pass();
        wgmma_wait<0>();
        pin(scores);
        release(barriers.k_empty[ring.stage]);
        if (n == tile.keys.begin) release(barriers.q_empty);
        mask_scores<Config>(scores, rows, arguments.window, n, lane);
        scale = statistics.update(scores, units);
        pack_fp8_probabilities(scores, probabilities);
      }
      float partial[Config::kHeadDim / 2];  // in the scores' registers
      barrier_wait(barriers.v_full[ring.stage], ring.parity);
      start_fp8_output<Config>(partial, probabilities, row_descriptor(shared.v(ring.stage)));
      wgmma_wait<0>();
      pin(partial);
      pin(probabilities);
      release(barriers.v_empty[ring.stage]);
      ring.advance();
#pragma unroll
      for (int i = 0; i < Config::kHeadDim / 2; ++i) output[i] = fmaf(output[i], scale.factor[i / 2 % 2], partial[i]);
    }
    statistics.finish();
    const float v_scale = kv_scales[1];
#pragma unroll
    for (float& sum : statistics.sum) sum /= v_scale;
    store_rows<Config>(arguments, tile.query.head, row, output, statistics, lane);
  }
}

}  // namespace longrope::kernels::cuda::hopper
