// The gated MLP's activation.
#include "kernels/cuda/bf16_vector.cuh"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// One block per row.
template <int V>
__global__ void __launch_bounds__(kThreads)
    gated_silu_kernel(const __nv_bfloat16* __restrict__ gate_up, std::int64_t n, __nv_bfloat16* __restrict__ y) {
  const std::int64_t row = blockIdx.x;
  const __nv_bfloat16* gates = gate_up + row * 2 * n;
  for (std::int64_t i = V * static_cast<std::int64_t>(threadIdx.x); i < n; i += V * kThreads) {
    float gate[V];
    float up[V];
    load_bf16<V>(gates + i, gate);
    load_bf16<V>(gates + n + i, up);
#pragma unroll
    for (int j = 0; j < V; ++j) gate[j] = gate[j] / (1.0F + expf(-gate[j])) * up[j];
    store_bf16<V>(y + row * n + i, gate);
  }
}

}  // namespace

void launch_gated_silu(const void* gate_up, std::int64_t rows, std::int64_t n, void* y, cudaStream_t stream) {
  if (rows == 0 || n == 0) return;
  const auto blocks = static_cast<unsigned>(rows);
  const auto* in = static_cast<const __nv_bfloat16*>(gate_up);
  auto* out = static_cast<__nv_bfloat16*>(y);
  if (n % 8 == 0 && aligned16(gate_up) && aligned16(y)) {
    gated_silu_kernel<8><<<blocks, kThreads, 0, stream>>>(in, n, out);
  } else {
    gated_silu_kernel<1><<<blocks, kThreads, 0, stream>>>(in, n, out);
  }
  check_launch("gated_silu");
}

}  // namespace longrope::kernels::cuda
