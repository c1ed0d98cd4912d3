// RMSNorm of the float32 residual stream into bf16 activations.
#include "kernels/cuda/bf16_vector.cuh"
#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <int V>
__device__ __forceinline__ void load_float(const float* address, float (&x)[V]) {
  if constexpr (V == 1) {
    x[0] = *address;
  } else {
#pragma unroll
    for (int i = 0; i < V; i += 4) {
      const float4 values = *reinterpret_cast<const float4*>(address + i);
      x[i] = values.x;
      x[i + 1] = values.y;
      x[i + 2] = values.z;
      x[i + 3] = values.w;
    }
  }
}

/// One block per row. The row is read twice; the second time it comes from the cache.
template <int V>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(const float* __restrict__ x, const float* __restrict__ weight, float epsilon, std::int64_t n,
                    __nv_bfloat16* __restrict__ y) {
  const std::int64_t row = blockIdx.x;
  const float* in = x + row * n;
  float squares = 0.0F;
  for (std::int64_t i = V * static_cast<std::int64_t>(threadIdx.x); i < n; i += V * kThreads) {
    float values[V];
    load_float<V>(in + i, values);
#pragma unroll
    for (int j = 0; j < V; ++j) squares += values[j] * values[j];
  }
  const float total = block_reduce<Add, kThreads>(squares);
  const double mean = static_cast<double>(total) / static_cast<double>(n);
  const float inverse = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(epsilon)));
  for (std::int64_t i = V * static_cast<std::int64_t>(threadIdx.x); i < n; i += V * kThreads) {
    float values[V];
    float weights[V];
    load_float<V>(in + i, values);
    load_float<V>(weight + i, weights);
#pragma unroll
    for (int j = 0; j < V; ++j) values[j] = values[j] * inverse * weights[j];
    store_bf16<V>(y + row * n + i, values);
  }
}

}  // namespace

void launch_rms_norm(const float* x, const float* weight, float epsilon, std::int64_t rows, std::int64_t n, void* y,
                     cudaStream_t stream) {
  if (rows == 0 || n == 0) return;
  const auto blocks = static_cast<unsigned>(rows);
  auto* out = static_cast<__nv_bfloat16*>(y);
  if (n % 8 == 0 && aligned16(x) && aligned16(weight) && aligned16(y)) {
    rms_norm_kernel<8><<<blocks, kThreads, 0, stream>>>(x, weight, epsilon, n, out);
  } else {
    rms_norm_kernel<1><<<blocks, kThreads, 0, stream>>>(x, weight, epsilon, n, out);
  }
  check_launch("rms_norm");
}

}  // namespace longrope::kernels::cuda
