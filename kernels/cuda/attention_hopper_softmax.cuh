// The softmax of the Hopper attention kernel: scores in a wgmma accumulator, two rows per thread, four threads per row.
// Running maximum and sum as in Milakov and Gimelshein 2018 (arXiv 1805.02867), in base 2: exp(x) = 2^(x log2 e).
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/hopper.cuh"

namespace longrope::kernels::cuda::hopper {

// scores[4 j + 2 h + c] is row h (of two, 8 apart), column 8 j + 2 (lane % 4) + c: the accumulator of hopper_wgmma.cuh.

inline constexpr float kLog2E = 1.4426950408889634F;

__device__ __forceinline__ float minus_infinity() { return __int_as_float(static_cast<int>(0xFF800000U)); }

/// What earlier sums and outputs are multiplied by, per row.
struct RowScale {
  float factor[2];
};

/// Scores in natural units, their terms at most 1.
struct NaturalScores {
  static __device__ __forceinline__ float log2_unit(int) { return kLog2E; }
  static __device__ __forceinline__ float term_shift(float shift) { return shift; }
};

/// Running statistics of this thread's two rows.
struct RowStatistics {
  float maximum[2] = {minus_infinity(),
                      minus_infinity()};  ///< of all scores so far; the same in the row's four threads
  float sum[2] = {0, 0};                  ///< of the terms, this thread's columns only

  /// Replaces scores by their terms, exp(score - new maximum) times a constant of `units`, which says what a score
  /// is in powers of two. A row that has seen no key yet keeps sum 0.
  template <int kCount, class Units = NaturalScores>
  __device__ __forceinline__ RowScale update(float (&scores)[kCount], const Units& units = {}) {
    RowScale scale;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float highest[2] = {fmaxf(scores[2 * h], scores[2 * h + 1]), fmaxf(scores[4 + 2 * h], scores[4 + 2 * h + 1])};
#pragma unroll
      for (int j = 2; j < kCount / 4; ++j) {
        highest[j % 2] = fmaxf(highest[j % 2], fmaxf(scores[4 * j + 2 * h], scores[4 * j + 2 * h + 1]));
      }
      float row = fmaxf(highest[0], highest[1]);
      row = fmaxf(row, __shfl_xor_sync(0xFFFFFFFFU, row, 1));
      row = fmaxf(row, __shfl_xor_sync(0xFFFFFFFFU, row, 2));
      const float before = maximum[h];
      maximum[h] = fmaxf(before, row);
      // -inf - -inf would be NaN: a row without keys takes 0, and its terms are 2^-inf = 0.
      const float unit = units.log2_unit(h);
      const float shift = maximum[h] == minus_infinity() ? 0.0F : maximum[h] * unit;
      scale.factor[h] = exp2_approximate(fmaf(before, unit, -shift));
      const float term_shift = units.term_shift(shift);
      float total[2] = {0, 0};
#pragma unroll
      for (int j = 0; j < kCount / 4; ++j) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float& score = scores[4 * j + 2 * h + c];
          score = exp2_approximate(fmaf(score, unit, -term_shift));
          total[c] += score;
        }
      }
      sum[h] = fmaf(sum[h], scale.factor[h], total[0] + total[1]);
    }
    return scale;
  }

  /// Adds up the row's four threads.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (float& s : sum) {
      s += __shfl_xor_sync(0xFFFFFFFFU, s, 1);
      s += __shfl_xor_sync(0xFFFFFFFFU, s, 2);
    }
  }

  __device__ __forceinline__ float inverse_sum(int h) const { return 1.0F / sum[h]; }
};

/// Keeps row h's columns c with own + 8 h - reach < c <= own + 8 h, counted from the thread's first column; the others
/// become -inf.
template <int kCount>
__device__ __forceinline__ void mask_beyond(float (&scores)[kCount], int own, int reach) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int column = i / 4 * 8 + i % 2;
    const int last = own + (i / 2 % 2) * 8;
    if (column > last || column <= last - reach) scores[i] = minus_infinity();
  }
}

/// Rounds exp values to bf16 pairs in the order in which wgmma wants its A operand: 4 registers per 16 columns.
template <int kCount>
__device__ __forceinline__ void pack_probabilities(const float (&values)[kCount], std::uint32_t (&packed)[kCount / 2]) {
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) packed[i] = pack_bf16(values[2 * i], values[2 * i + 1]);
}

/// Multiplies both rows of the output by their factors; not at all when no row of the warp has a new maximum, which
/// gives the same bits.
template <int kCount>
__device__ __forceinline__ void rescale(float (&output)[kCount], const RowScale& scale) {
  if (__all_sync(0xFFFFFFFFU, scale.factor[0] == 1.0F && scale.factor[1] == 1.0F)) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) output[i] *= scale.factor[i / 2 % 2];
}

/// Exchanges a 4x4 matrix of words among four neighbouring lanes: word b of lane q goes to lane b as word q.
__device__ __forceinline__ void transpose_quad(std::uint32_t (&words)[4], int lane) {
  const bool odd = (lane & 1) != 0;
  const bool upper = (lane & 2) != 0;
#pragma unroll
  for (int pair = 0; pair < 4; pair += 2) {
    const std::uint32_t got = __shfl_xor_sync(0xFFFFFFFFU, odd ? words[pair] : words[pair + 1], 1);
    (odd ? words[pair] : words[pair + 1]) = got;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t got = __shfl_xor_sync(0xFFFFFFFFU, upper ? words[i] : words[i + 2], 2);
    (upper ? words[i] : words[i + 2]) = got;
  }
}

/// Writes one row of the output times `factor`, rounded, as 16-byte stores: `columns` of it, a multiple of 8 (0: none).
/// All four threads of a row, which sit in neighbouring lanes, take part.
template <int kCount>
__device__ __forceinline__ void store_row(__nv_bfloat16* out, int columns, const float (&output)[kCount], int h,
                                          float factor, int lane) {
#pragma unroll
  for (int group = 0; group < kCount / 16; ++group) {
    std::uint32_t words[4];
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const int i = 4 * (4 * group + b) + 2 * h;
      words[b] = pack_bf16(output[i] * factor, output[i + 1] * factor);
    }
    transpose_quad(words, lane);
    const int column = 8 * (4 * group + lane % 4);
    if (column < columns) {
      *reinterpret_cast<uint4*>(out + column) = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
}

}  // namespace longrope::kernels::cuda::hopper
