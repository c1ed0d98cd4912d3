// cos and sin of a chunk's positions, from the candidates' frequencies.
#include <cuda_bf16.h>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// One thread per (sequence, position, pair).
__global__ void __launch_bounds__(kThreads)
    rotation_kernel(const __grid_constant__ RotationBatch batch, std::int64_t first_position, std::int64_t rows,
                    float* __restrict__ cosines, float* __restrict__ sines) {
  const std::int64_t element = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= rows * batch.pairs) return;
  const RotationBatch::Sequence& f = batch.sequences[blockIdx.y];
  const std::int64_t position = first_position + element / batch.pairs;
  const int pair = static_cast<int>(element % batch.pairs);
  const double inv_freq = batch.frequencies[f.first + (position < f.start_tokens ? batch.pairs : 0) + pair];
  const std::int64_t index = blockIdx.y * rows * batch.pairs + element;
  if (f.hf != 0) {
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

void launch_rotation(const RotationBatch& batch, std::int64_t first_position, std::int64_t rows, float* cosines,
                     float* sines, cudaStream_t stream) {
  const std::int64_t elements = rows * batch.pairs;
  if (elements == 0 || batch.count == 0) return;
  const dim3 blocks(static_cast<unsigned>((elements + kThreads - 1) / kThreads), static_cast<unsigned>(batch.count));
  rotation_kernel<<<blocks, kThreads, 0, stream>>>(batch, first_position, rows, cosines, sines);
  check_launch("rotation");
}

}  // namespace longrope::kernels::cuda
