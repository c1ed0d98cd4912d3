// Embedding rows to the float32 residual stream.
#include <cuda_bf16.h>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

/// One block per token.
template <class T>
__global__ void __launch_bounds__(kThreads)
    embed_kernel(const T* __restrict__ table, const std::int32_t* __restrict__ ids, std::int64_t hidden,
                 float* __restrict__ out) {
  const std::int64_t token = blockIdx.x;
  const T* row = table + ids[token] * hidden;
  for (std::int64_t i = threadIdx.x; i < hidden; i += kThreads) out[token * hidden + i] = to_float(row[i]);
}

}  // namespace

void launch_embed(const void* table, DType dtype, const std::int32_t* ids, std::int64_t tokens, std::int64_t hidden,
                  float* out, cudaStream_t stream) {
  if (tokens == 0) return;
  const auto blocks = static_cast<unsigned>(tokens);
  if (dtype == DType::f32) {
    embed_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const float*>(table), ids, hidden, out);
  } else {
    embed_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const __nv_bfloat16*>(table), ids, hidden, out);
  }
  check_launch("embed");
}

}  // namespace longrope::kernels::cuda
