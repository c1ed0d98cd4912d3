// Sums and maxima over a block in a fixed order: lanes by halving distance, then warps in turn. No atomics.
#pragma once

namespace longrope::kernels::cuda {

struct Add {
  static __device__ __forceinline__ float apply(float a, float b) { return a + b; }
};
struct Max {
  static __device__ __forceinline__ float apply(float a, float b) { return fmaxf(a, b); }  // ignores NaN
};

/// The reduction of `value` over the block's kThreads threads, to all of them. All threads must call it.
template <class Op, int kThreads>
__device__ __forceinline__ float block_reduce(float value) {
  static_assert(kThreads % 32 == 0);
  __shared__ float partial[kThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = Op::apply(value, __shfl_xor_sync(0xFFFFFFFFU, value, distance));
  }
  __syncthreads();  // the previous reduction's partials have been read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float total = partial[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) total = Op::apply(total, partial[warp]);
  return total;
}

}  // namespace longrope::kernels::cuda
