// The losses of rows from what tiles of their logits left.
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kRows = 32;   // of a block: neighbours read neighbouring partials
constexpr int kSlices = 8;  // warps among which a row's tiles are dealt

__global__ void __launch_bounds__(kRows* kSlices)
    combine_partials_kernel(const LogitPartial* partials, const float* target_logits, std::int64_t rows,
                            std::int64_t tiles, double* nll) {
  __shared__ float maxima[kSlices][kRows];
  __shared__ double sums[kSlices][kRows];
  const int lane = static_cast<int>(threadIdx.x) % kRows;
  const int slice = static_cast<int>(threadIdx.x) / kRows;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRows + lane;
  const bool inside = row < rows;
  float max = -__int_as_float(0x7F800000);
  if (inside) {
#pragma unroll 4
    for (std::int64_t tile = slice; tile < tiles; tile += kSlices) max = fmaxf(max, partials[tile * rows + row].max);
  }
  maxima[slice][lane] = max;
  __syncthreads();
#pragma unroll
  for (int other = 0; other < kSlices; ++other) max = fmaxf(max, maxima[other][lane]);
  double sum = 0.0;
  if (inside) {
#pragma unroll 4
    for (std::int64_t tile = slice; tile < tiles; tile += kSlices) {
      const LogitPartial partial = partials[tile * rows + row];
      sum += static_cast<double>(partial.sum) * exp(static_cast<double>(partial.max) - static_cast<double>(max));
    }
  }
  sums[slice][lane] = sum;
  __syncthreads();
  if (slice != 0 || !inside) return;
  for (int other = 1; other < kSlices; ++other) sum += sums[other][lane];
  const double value = static_cast<double>(max) + log(sum) - static_cast<double>(target_logits[row]);
  nll[row] = isfinite(value) ? value : __longlong_as_double(0x7FF8000000000000LL);
}

}  // namespace

void launch_combine_partials(const LogitPartial* partials, const float* target_logits, std::int64_t rows,
                             std::int64_t tiles, double* nll, cudaStream_t stream) {
  if (rows == 0) return;
  const std::int64_t blocks = (rows + kRows - 1) / kRows;
  combine_partials_kernel<<<static_cast<unsigned>(blocks), kRows * kSlices, 0, stream>>>(partials, target_logits, rows,
                                                                                         tiles, nll);
  check_launch("nll");
}

}  // namespace longrope::kernels::cuda
