// bf16 rows to e4m3 with one scale per row: the largest magnitude becomes 448, the type's largest number.
#include <cuda_fp8.h>

#include "kernels/cuda/bf16_vector.cuh"
#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr float kLargest = 448.0F;
constexpr float kSmallest = 1e-30F;  // rows below become zeros: their scale would leave float32's normal range

/// One block per row of n columns, n a multiple of 8.
__global__ void __launch_bounds__(kThreads)
    quantize_rows_kernel(const __nv_bfloat16* __restrict__ x, std::int64_t n, std::uint8_t* __restrict__ y,
                         float* __restrict__ scales) {
  const std::int64_t row = blockIdx.x;
  const __nv_bfloat16* in = x + row * n;
  float largest = 0.0F;
  for (std::int64_t i = 8 * static_cast<std::int64_t>(threadIdx.x); i < n; i += 8 * kThreads) {
    float values[8];
    load_bf16<8>(in + i, values);
#pragma unroll
    for (int j = 0; j < 8; ++j) largest = fmaxf(largest, fabsf(values[j]));
  }
  largest = block_reduce<Max, kThreads>(largest);
  const float scale = largest > kSmallest ? largest / kLargest : 1.0F;
  for (std::int64_t i = 8 * static_cast<std::int64_t>(threadIdx.x); i < n; i += 8 * kThreads) {
    float values[8];
    load_bf16<8>(in + i, values);
    unsigned words[2] = {0, 0};
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const unsigned byte = __nv_cvt_float_to_fp8(values[j] / scale, __NV_SATFINITE, __NV_E4M3);
      words[j / 4] |= byte << (8 * (j % 4));
    }
    *reinterpret_cast<uint2*>(y + row * n + i) = make_uint2(words[0], words[1]);
  }
  if (threadIdx.x == 0) scales[row] = scale;
}

}  // namespace

void launch_quantize_rows(const void* x, std::int64_t rows, std::int64_t n, void* y, float* scales,
                          cudaStream_t stream) {
  if (rows == 0 || n == 0) return;
  quantize_rows_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(static_cast<const __nv_bfloat16*>(x), n,
                                                                             static_cast<std::uint8_t*>(y), scales);
  check_launch("quantize_rows");
}

}  // namespace longrope::kernels::cuda
