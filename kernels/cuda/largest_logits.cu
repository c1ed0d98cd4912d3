// One pass over a tile of logits: the largest of each row, beside what the tiles before it left.
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

__device__ __forceinline__ LogitChoice warp_choice(LogitChoice choice) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const LogitChoice other{__shfl_xor_sync(0xFFFFFFFFU, choice.value, distance),
                            __shfl_xor_sync(0xFFFFFFFFU, choice.entry, distance)};
    choice = better(choice, other);
  }
  return choice;
}

/// One block per row.
__global__ void __launch_bounds__(kThreads) largest_logits_kernel(const ChoiceTile tile) {
  __shared__ LogitChoice partial[kWarps];
  const std::int64_t row = blockIdx.x;
  const float* logits = tile.logits + row * tile.stride;
  LogitChoice choice = no_choice();
  for (std::int64_t column = threadIdx.x; column < tile.count; column += kThreads) {
    choice = better(choice, choice_of(logits[column], static_cast<std::int32_t>(tile.first_entry + column)));
  }
  choice = warp_choice(choice);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = choice;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kWarps; ++warp) choice = better(choice, partial[warp]);
  if (tile.first_entry > 0) choice = better(choice, tile.choices[row]);
  tile.choices[row] = choice;
}

}  // namespace

void launch_largest_logits(const ChoiceTile& tile, cudaStream_t stream) {
  if (tile.rows == 0) return;
  largest_logits_kernel<<<static_cast<unsigned>(tile.rows), kThreads, 0, stream>>>(tile);
  check_launch("argmax");
}

}  // namespace longrope::kernels::cuda
