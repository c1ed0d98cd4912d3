// bf16 Q, K and V to e4m3 for FP8 attention: K minus its mean over all keys, which changes no weight (q . c is the same
// for every key of a query), V transposed. A bias in pairs that the rotation turns fast averages out and stays in K.
// One scale per kv head of K and of V, one per row and head of Q: an e4m3 has its own exponent, so that finer scales
// gain little. Fixed order, no atomics.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_fp8_layout.hpp"
#include "kernels/cuda/bf16_vector.cuh"
#include "kernels/cuda/block_reduce.cuh"

namespace longrope::kernels::cuda::fp8 {

inline constexpr int kThreads = 256;
inline constexpr int kGroups = kMostColumns / kColumnGroup;  ///< threads across a row
inline constexpr int kSlices = kThreads / kGroups;           ///< rows that a block reads at once
inline constexpr int kTransposedPitch = kTileKeys + 4;       ///< bytes: fewer threads meet in a bank
inline constexpr float kLargest = 448.0F;                    ///< of an e4m3
inline constexpr float kSmallest = 0x1p-40F;                 ///< of a scale times 448: what is all zeros has one, too

/// Pointers into a workspace, and what is quantised into it.
struct QuantizeArguments {
  const __nv_bfloat16* q;  ///< [rows, heads, head_dim]
  const __nv_bfloat16* k;  ///< [keys, kv_heads, head_dim]
  const __nv_bfloat16* v;
  std::uint8_t* q_out;
  std::uint8_t* k_out;
  std::uint8_t* v_out;
  float* q_scales;
  float* statistics;
  float* v_largest;
  float* mean;
  float* kv_scales;
  WorkspaceShape shape;
};

/// Eight values over a scale, satfinite, the first in the lowest byte.
__device__ __forceinline__ uint2 quantize(const float (&values)[kColumnGroup], float inverse_scale) {
  unsigned words[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < kColumnGroup; i += 2) {
    const float2 pair = make_float2(values[i] * inverse_scale, values[i + 1] * inverse_scale);
    const unsigned bytes = __nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3);
    words[i / 4] |= bytes << (8 * (i % 4));
  }
  return make_uint2(words[0], words[1]);
}

/// Loads eight columns; zeros where there are none.
__device__ __forceinline__ void load_columns(const __nv_bfloat16* row, bool exists, float (&values)[kColumnGroup]) {
  if (exists) {
    load_bf16<kColumnGroup>(row, values);
  } else {
#pragma unroll
    for (float& value : values) value = 0.0F;
  }
}

/// 16 threads per row and head of Q. Blocks: rows * heads / kSlices, rounded up.
__global__ void __launch_bounds__(kThreads) quantize_queries_kernel(const QuantizeArguments a) {
  const int group = static_cast<int>(threadIdx.x) % kGroups;
  const std::int64_t head_dim = a.shape.head_dim;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kSlices + static_cast<int>(threadIdx.x) / kGroups;
  const std::int64_t column = group * kColumnGroup;
  const bool exists = row < a.shape.rows * a.shape.heads && column < head_dim;
  float values[kColumnGroup];
  load_columns(a.q + row * head_dim + column, exists, values);
  float largest = 0.0F;
#pragma unroll
  for (const float value : values) largest = fmaxf(largest, fabsf(value));
#pragma unroll
  for (int distance = kGroups / 2; distance > 0; distance /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, distance));
  }
  largest = fmaxf(largest, kSmallest);
  if (!exists) return;
  *reinterpret_cast<uint2*>(a.q_out + row * head_dim + column) = quantize(values, kLargest / largest);
  if (group == 0) a.q_scales[row] = largest / kLargest;
}

/// Sum, smallest and largest value of the columns of K, the largest magnitude of V, over kStatisticsKeys keys of one kv
/// head. Blocks: [statistics blocks, kv_heads].
__global__ void __launch_bounds__(kThreads) key_statistics_kernel(const QuantizeArguments a) {
  __shared__ float partial[kColumnStatistics][kSlices][kMostColumns];
  const int group = static_cast<int>(threadIdx.x) % kGroups;
  const int slice = static_cast<int>(threadIdx.x) / kGroups;
  const std::int64_t head_dim = a.shape.head_dim;
  const std::int64_t kv_head = static_cast<std::int64_t>(blockIdx.x) % a.shape.kv_heads;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) / a.shape.kv_heads * kStatisticsKeys;
  const std::int64_t end = first + kStatisticsKeys < a.shape.keys ? first + kStatisticsKeys : a.shape.keys;
  const bool exists = group * kColumnGroup < head_dim;
  const float infinity = __builtin_huge_valf();

  float sum[kColumnGroup];
  float smallest[kColumnGroup];
  float largest[kColumnGroup];
  float v_largest = 0.0F;
#pragma unroll
  for (int i = 0; i < kColumnGroup; ++i) {
    sum[i] = 0.0F;
    smallest[i] = infinity;
    largest[i] = -infinity;
  }
  for (std::int64_t key = first + slice; key < end; key += kSlices) {
    const std::int64_t at = (key * a.shape.kv_heads + kv_head) * head_dim + group * kColumnGroup;
    float k[kColumnGroup];
    float v[kColumnGroup];
    load_columns(a.k + at, exists, k);
    load_columns(a.v + at, exists, v);
#pragma unroll
    for (int i = 0; i < kColumnGroup; ++i) {
      sum[i] += k[i];
      smallest[i] = fminf(smallest[i], k[i]);
      largest[i] = fmaxf(largest[i], k[i]);
      v_largest = fmaxf(v_largest, fabsf(v[i]));
    }
  }
#pragma unroll
  for (int i = 0; i < kColumnGroup; ++i) {
    partial[0][slice][group * kColumnGroup + i] = sum[i];
    partial[1][slice][group * kColumnGroup + i] = smallest[i];
    partial[2][slice][group * kColumnGroup + i] = largest[i];
  }
  v_largest = block_reduce<Max, kThreads>(v_largest);  // its barriers make `partial` visible
  if (threadIdx.x == 0) a.v_largest[blockIdx.x] = v_largest;
  const auto column = static_cast<std::int64_t>(threadIdx.x);
  if (column >= head_dim) return;
  float all[kColumnStatistics] = {partial[0][0][column], partial[1][0][column], partial[2][0][column]};
  for (int s = 1; s < kSlices; ++s) {
    all[0] += partial[0][s][column];
    all[1] = fminf(all[1], partial[1][s][column]);
    all[2] = fmaxf(all[2], partial[2][s][column]);
  }
  float* const out = a.statistics + static_cast<std::int64_t>(blockIdx.x) * kColumnStatistics * head_dim + column;
#pragma unroll
  for (int i = 0; i < kColumnStatistics; ++i) out[i * head_dim] = all[i];
}

inline constexpr int kScaleSlices = 8;
inline constexpr int kScaleThreads = kScaleSlices * kMostColumns;

/// Mean of K's columns, and the scales. One block per kv head.
__global__ void __launch_bounds__(kScaleThreads) key_scales_kernel(const QuantizeArguments a) {
  __shared__ float partial[kColumnStatistics][kScaleSlices][kMostColumns];
  const int column = static_cast<int>(threadIdx.x) % kMostColumns;
  const int slice = static_cast<int>(threadIdx.x) / kMostColumns;
  const std::int64_t head_dim = a.shape.head_dim;
  const std::int64_t kv_head = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t blocks = (a.shape.keys + kStatisticsKeys - 1) / kStatisticsKeys;
  const float infinity = __builtin_huge_valf();

  float sum = 0.0F;
  float smallest = infinity;
  float largest = -infinity;
  float v_largest = 0.0F;
  for (std::int64_t b = slice; b < blocks; b += kScaleSlices) {
    const std::int64_t index = b * a.shape.kv_heads + kv_head;
    v_largest = fmaxf(v_largest, a.v_largest[index]);
    if (column >= head_dim) continue;
    const float* const in = a.statistics + index * kColumnStatistics * head_dim + column;
    sum += in[0];
    smallest = fminf(smallest, in[head_dim]);
    largest = fmaxf(largest, in[2 * head_dim]);
  }
  partial[0][slice][column] = sum;
  partial[1][slice][column] = smallest;
  partial[2][slice][column] = largest;
  v_largest = block_reduce<Max, kScaleThreads>(v_largest);
  float reach = 0.0F;  // of this column from its mean: rounding keeps the order, so this is the largest |k - mean|
  if (slice == 0 && column < head_dim) {
    for (int s = 1; s < kScaleSlices; ++s) {
      sum += partial[0][s][column];
      smallest = fminf(smallest, partial[1][s][column]);
      largest = fmaxf(largest, partial[2][s][column]);
    }
    const float mean = sum / static_cast<float>(a.shape.keys);
    a.mean[kv_head * head_dim + column] = mean;
    reach = fmaxf(largest - mean, mean - smallest);
  }
  reach = block_reduce<Max, kScaleThreads>(reach);
  if (threadIdx.x != 0) return;
  a.kv_scales[2 * kv_head] = fmaxf(reach, kSmallest) / kLargest;
  a.kv_scales[2 * kv_head + 1] = fmaxf(v_largest, kSmallest) / kLargest;
}

/// K minus its mean, and V transposed with zeros beyond the last key, for one tile of one kv head. Blocks: [tiles,
/// kv_heads].
__global__ void __launch_bounds__(kThreads) quantize_keys_kernel(const QuantizeArguments a) {
  __shared__ std::uint32_t transposed[kMostColumns * kTransposedPitch / 4];
  auto* const bytes = reinterpret_cast<std::uint8_t*>(transposed);
  const int group = static_cast<int>(threadIdx.x) % kGroups;
  const int slice = static_cast<int>(threadIdx.x) / kGroups;
  const std::int64_t head_dim = a.shape.head_dim;
  const std::int64_t kv_head = static_cast<std::int64_t>(blockIdx.x) % a.shape.kv_heads;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) / a.shape.kv_heads * kTileKeys;
  const float k_inverse = 1.0F / a.kv_scales[2 * kv_head];
  const float v_inverse = 1.0F / a.kv_scales[2 * kv_head + 1];
  if (group * kColumnGroup < head_dim) {
    float mean[kColumnGroup];
#pragma unroll
    for (int i = 0; i < kColumnGroup; ++i) mean[i] = a.mean[kv_head * head_dim + group * kColumnGroup + i];
#pragma unroll 4
    for (int in_tile = slice; in_tile < kTileKeys; in_tile += kSlices) {
      const std::int64_t key = first + in_tile;
      const std::int64_t at = (key * a.shape.kv_heads + kv_head) * head_dim + group * kColumnGroup;
      const bool exists = key < a.shape.keys;
      float values[kColumnGroup];
      if (exists) {
        load_bf16<kColumnGroup>(a.k + at, values);
#pragma unroll
        for (int i = 0; i < kColumnGroup; ++i) values[i] -= mean[i];
        *reinterpret_cast<uint2*>(a.k_out + at) = quantize(values, k_inverse);
      }
      load_columns(a.v + at, exists, values);
      const uint2 packed = quantize(values, v_inverse);
#pragma unroll
      for (int i = 0; i < kColumnGroup; ++i) {
        bytes[(group * kColumnGroup + i) * kTransposedPitch + value_position(in_tile)] =
            static_cast<std::uint8_t>((i < 4 ? packed.x : packed.y) >> (8 * (i % 4)));
      }
    }
  }
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t padded = (a.shape.keys + kTileKeys - 1) / kTileKeys * kTileKeys;
  for (int column = static_cast<int>(threadIdx.x) / 32; column < head_dim; column += kThreads / 32) {
    auto* const out = reinterpret_cast<std::uint32_t*>(a.v_out + (kv_head * head_dim + column) * padded + first);
    out[lane] = transposed[column * (kTransposedPitch / 4) + lane];
  }
}

/// Grids of the kernels, in the order in which they run.
struct QuantizeBlocks {
  unsigned queries, statistics, scales, keys;
};
inline QuantizeBlocks quantize_blocks(const WorkspaceShape& shape) {
  const auto blocks = [](std::int64_t work, std::int64_t per_block) {
    return static_cast<unsigned>((work + per_block - 1) / per_block);
  };
  const auto kv_heads = static_cast<unsigned>(shape.kv_heads);
  return {blocks(shape.rows * shape.heads, kSlices), blocks(shape.keys, kStatisticsKeys) * kv_heads, kv_heads,
          blocks(shape.keys, kTileKeys) * kv_heads};
}

/// The problem without the keys that no row sees: attention counts positions from anywhere.
inline AttentionProblem without_unseen_keys(const AttentionProblem& problem) {
  const std::int64_t unseen =
      problem.keys() - visible_keys(problem.first_position, problem.rows, problem.sliding_window);
  const std::int64_t offset = unseen * problem.kv_heads * problem.head_dim;
  AttentionProblem seen = problem;
  seen.k = static_cast<const __nv_bfloat16*>(problem.k) + offset;
  seen.v = static_cast<const __nv_bfloat16*>(problem.v) + offset;
  seen.first_position -= unseen;
  return seen;
}

inline WorkspaceShape shape_of(const AttentionProblem& seen) {
  return {seen.heads, seen.kv_heads, seen.head_dim, seen.rows, seen.keys()};
}

template <class T>
T* at(void* workspace, std::int64_t offset) {
  return reinterpret_cast<T*>(static_cast<std::uint8_t*>(workspace) + offset);
}

inline QuantizeArguments quantize_arguments(const AttentionProblem& seen, void* workspace) {
  const WorkspaceShape shape = shape_of(seen);
  const Workspace place(shape);
  return {static_cast<const __nv_bfloat16*>(seen.q), static_cast<const __nv_bfloat16*>(seen.k),
          static_cast<const __nv_bfloat16*>(seen.v), at<std::uint8_t>(workspace, place.q),
          at<std::uint8_t>(workspace, place.k),      at<std::uint8_t>(workspace, place.v),
          at<float>(workspace, place.q_scales),      at<float>(workspace, place.statistics),
          at<float>(workspace, place.v_largest),     at<float>(workspace, place.mean),
          at<float>(workspace, place.kv_scales),     shape};
}

}  // namespace longrope::kernels::cuda::fp8
