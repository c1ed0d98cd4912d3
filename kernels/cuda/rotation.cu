// cos and sin of a chunk's positions, from the candidate's frequencies.
#include <cuda_bf16.h>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// One thread per (position, pair).
__global__ void __launch_bounds__(kThreads)
    rotation_kernel(const __grid_constant__ RotationFrequencies f, std::int64_t first_position, std::int64_t rows,
                    float* __restrict__ cosines, float* __restrict__ sines) {
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= rows * f.pairs) return;
  const std::int64_t position = first_position + index / f.pairs;
  const std::int64_t pair = index % f.pairs;
  const double inv_freq = position < f.start_tokens ? f.leading_inv_freq[pair] : f.inv_freq[pair];
  if (f.hf) {
    const float angle = __fmul_rn(static_cast<float>(position), static_cast<float>(inv_freq));
    const float factor = static_cast<float>(f.attention_factor);
    cosines[index] = __bfloat162float(__float2bfloat16_rn(cosf(angle) * factor));
    sines[index] = __bfloat162float(__float2bfloat16_rn(sinf(angle) * factor));
  } else {
    const double angle = static_cast<double>(position) * inv_freq;
    double sine = 0.0;
    double cosine = 0.0;
    sincos(angle, &sine, &cosine);
    cosines[index] = static_cast<float>(cosine * f.attention_factor);
    sines[index] = static_cast<float>(sine * f.attention_factor);
  }
}

}  // namespace

void launch_rotation(const RotationFrequencies& frequencies, std::int64_t first_position, std::int64_t rows,
                     float* cosines, float* sines, cudaStream_t stream) {
  const std::int64_t elements = rows * frequencies.pairs;
  if (elements == 0) return;
  const auto blocks = static_cast<unsigned>((elements + kThreads - 1) / kThreads);
  rotation_kernel<<<blocks, kThreads, 0, stream>>>(frequencies, first_position, rows, cosines, sines);
  check_launch("rotation");
}

}  // namespace longrope::kernels::cuda
