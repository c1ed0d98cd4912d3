// Causal attention as the formula says, in float32: slow, for any head_dim up to 256, and easy to see through.
#include <cuda_bf16.h>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/check.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;  // keys of a tile; also the columns of a head a block can hold

/// One block per (query row, head). Tile by tile: a thread scores one key, then sums one column over the tile.
__global__ void __launch_bounds__(kThreads) attention_plain_kernel(const AttentionProblem p) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t head = blockIdx.y;
  const std::int64_t kv_head = head / (p.heads / p.kv_heads);
  const std::int64_t position = p.first_position + row;
  const std::int64_t first_key =
      p.sliding_window > 0 && position - p.sliding_window + 1 > 0 ? position - p.sliding_window + 1 : 0;
  const auto* q = static_cast<const __nv_bfloat16*>(p.q) + (row * p.heads + head) * p.head_dim;
  const auto* k = static_cast<const __nv_bfloat16*>(p.k) + kv_head * p.head_dim;
  const auto* v = static_cast<const __nv_bfloat16*>(p.v) + kv_head * p.head_dim;
  const std::int64_t stride = p.kv_heads * p.head_dim;
  const auto thread = static_cast<std::int64_t>(threadIdx.x);

  __shared__ float query[kThreads];
  __shared__ float weights[kThreads];
  if (thread < p.head_dim) query[thread] = __bfloat162float(q[thread]);
  __syncthreads();

  const float lowest = -__int_as_float(0x7F800000);
  float max = lowest;
  float sum = 0.0F;
  float out = 0.0F;
  for (std::int64_t tile = first_key; tile <= position; tile += kThreads) {
    float score = lowest;
    if (tile + thread <= position) {
      score = 0.0F;
      for (std::int64_t i = 0; i < p.head_dim; ++i) {
        score += query[i] * __bfloat162float(k[(tile + thread) * stride + i]);
      }
    }
    const float new_max = fmaxf(max, block_reduce<Max, kThreads>(score));
    const float weight = tile + thread <= position ? expf(score - new_max) : 0.0F;
    const float correction = expf(max - new_max);  // 0 on the first tile
    weights[thread] = weight;
    sum = sum * correction + block_reduce<Add, kThreads>(weight);  // its barriers make `weights` visible
    out *= correction;
    if (thread < p.head_dim) {
      const std::int64_t keys = position - tile + 1 < kThreads ? position - tile + 1 : kThreads;
      for (std::int64_t j = 0; j < keys; ++j) out += weights[j] * __bfloat162float(v[(tile + j) * stride + thread]);
    }
    max = new_max;
    __syncthreads();  // `weights` has been read
  }
  if (thread < p.head_dim) {
    static_cast<__nv_bfloat16*>(p.out)[(row * p.heads + head) * p.head_dim + thread] = __float2bfloat16_rn(out / sum);
  }
}

}  // namespace

bool attention_plain_supports(const AttentionProblem& problem) {
  return problem.head_dim >= 1 && problem.head_dim <= kThreads;
}

void attention_plain(const AttentionProblem& problem, cudaStream_t stream) {
  if (problem.rows == 0) return;
  const dim3 blocks(static_cast<unsigned>(problem.rows), static_cast<unsigned>(problem.heads));
  attention_plain_kernel<<<blocks, kThreads, 0, stream>>>(problem);
  check_launch("attention");
}

}  // namespace longrope::kernels::cuda
