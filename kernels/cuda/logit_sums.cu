// One pass over a tile of logits: adds it to each row's softmax normaliser and picks the target's logit.
#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = static_cast<int>(kMaxLogitTile) / (4 * kThreads);  // float4 a thread holds
constexpr float kLog2E = 1.44269504088896340736F;

/// One block per row; the row's tile lies in the block's registers between the maximum and the sum.
__global__ void __launch_bounds__(kThreads) logit_sums_kernel(const LogitTile tile) {
  const std::int64_t row = blockIdx.x;
  const float* logits = tile.logits + row * tile.stride;
  const float lowest = -__int_as_float(0x7F800000);
  // What the first thread will need at the end: asked for now, it arrives with the logits.
  LogitState before{};
  bool has_target = false;
  float target = 0.0F;
  if (threadIdx.x == 0) {
    const std::int64_t column = tile.targets[row] - tile.first_entry;
    has_target = column >= 0 && column < tile.count;
    if (has_target) target = logits[column];
    if (tile.first_entry > 0) before = tile.states[row];
  }
  float x[kVectors][4];
  float max = lowest;
  float poison = 0.0F;  // 0 while all logits are finite, NaN after one that is not
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::int64_t first = 4 * (static_cast<std::int64_t>(i) * kThreads + threadIdx.x);
    if (first + 4 <= tile.count) {
      const float4 values = *reinterpret_cast<const float4*>(logits + first);
      x[i][0] = values.x;
      x[i][1] = values.y;
      x[i][2] = values.z;
      x[i][3] = values.w;
#pragma unroll
      for (int j = 0; j < 4; ++j) poison += x[i][j] * 0.0F;
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const bool inside = first + j < tile.count;
        x[i][j] = inside ? logits[first + j] : lowest;
        if (inside) poison += x[i][j] * 0.0F;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) max = fmaxf(max, x[i][j]);
  }
  max = block_reduce<Max, kThreads>(max);
  float sum = poison;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += exp2f((x[i][j] - max) * kLog2E);
  }
  sum = block_reduce<Add, kThreads>(sum);
  if (threadIdx.x != 0) return;

  LogitState state{static_cast<double>(max), static_cast<double>(sum), static_cast<double>(target)};
  if (tile.first_entry > 0) {
    if (!has_target) state.target = before.target;
    if (before.max > state.max) {
      state.sum = before.sum + state.sum * exp(state.max - before.max);
      state.max = before.max;
    } else {
      state.sum += before.sum * exp(before.max - state.max);
    }
  }
  tile.states[row] = state;
  if (tile.nll != nullptr) {
    const double nll = state.max + log(state.sum) - state.target;
    tile.nll[row] = isfinite(nll) ? nll : __longlong_as_double(0x7FF8000000000000LL);
  }
}

}  // namespace

void launch_logit_sums(const LogitTile& tile, cudaStream_t stream) {
  if (tile.rows == 0) return;
  logit_sums_kernel<<<static_cast<unsigned>(tile.rows), kThreads, 0, stream>>>(tile);
  check_launch("nll");
}

}  // namespace longrope::kernels::cuda
