// Splits fused projections, normalises heads, rotates q and k and writes q, K and V in one pass.
// Pairs are (i, i + rotary_dim/2), as in kernels/rotation.hpp.
#include "kernels/cuda/bf16_vector.cuh"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 128;

struct SequencePointers {
  const __nv_bfloat16* qkv;
  __nv_bfloat16* q;
  __nv_bfloat16* k;
  __nv_bfloat16* v;
};

struct Arguments {
  SequencePointers sequences[RotationBatch::kMaxSequences];
  std::int64_t rows;
  const float* __restrict__ cosines;
  const float* __restrict__ sines;
  const float* __restrict__ q_norm;
  const float* __restrict__ k_norm;
  int heads;
  int kv_heads;
  int head_dim;
  int rotary_dim;
  int group;  // threads that share a head: a power of two up to 32
  float epsilon;
  float q_scale;
};

/// A unit is two runs of V columns of a head: a run and its rotation partner half a rotary_dim on, or two neighbouring
/// runs of the columns that are passed through.
template <int V>
__device__ __forceinline__ int low_column(const Arguments& a, int unit, bool rotates) {
  return rotates ? unit * V : a.rotary_dim + (unit - a.rotary_dim / (2 * V)) * 2 * V;
}

/// One block per row and sequence; groups of threads take its heads in turn, a thread holds up to kUnits units of one
/// head.
template <int V, int kUnits>
__global__ void __launch_bounds__(kThreads) rotate_qkv_kernel(const __grid_constant__ Arguments a) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t table_row = blockIdx.y * a.rows + row;
  const __nv_bfloat16* __restrict__ qkv = a.sequences[blockIdx.y].qkv;
  __nv_bfloat16* __restrict__ q = a.sequences[blockIdx.y].q;
  __nv_bfloat16* __restrict__ k = a.sequences[blockIdx.y].k;
  __nv_bfloat16* __restrict__ v = a.sequences[blockIdx.y].v;
  const int lane = static_cast<int>(threadIdx.x) % a.group;
  const int all_heads = a.heads + 2 * a.kv_heads;
  const int units = (a.head_dim + 2 * V - 1) / (2 * V);
  const int pairs = a.rotary_dim / 2;
  for (int base = 0; base < all_heads; base += kThreads / a.group) {
    const int head = base + static_cast<int>(threadIdx.x) / a.group;
    const bool is_q = head < a.heads;
    const bool is_v = head >= a.heads + a.kv_heads;
    const float* norm = is_q ? a.q_norm : (is_v ? nullptr : a.k_norm);
    const __nv_bfloat16* in = qkv + (row * all_heads + head) * a.head_dim;
    float low[kUnits][V];
    float high[kUnits][V];
    float squares = 0.0F;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
#pragma unroll
      for (int j = 0; j < V; ++j) low[u][j] = high[u][j] = 0.0F;
      const int unit = lane + u * a.group;
      if (head >= all_heads || unit >= units) continue;
      const bool paired = unit * 2 * V < a.rotary_dim;
      const int first = low_column<V>(a, unit, paired);
      const int second = first + (paired ? pairs : V);
      load_bf16<V>(in + first, low[u]);
      if (second < a.head_dim) load_bf16<V>(in + second, high[u]);
#pragma unroll
      for (int j = 0; j < V; ++j) squares += low[u][j] * low[u][j] + high[u][j] * high[u][j];
    }
    for (int distance = a.group / 2; distance > 0; distance /= 2) {
      squares += __shfl_xor_sync(0xFFFFFFFFU, squares, distance);
    }
    const float inverse = norm == nullptr ? 1.0F : 1.0F / sqrtf(squares / static_cast<float>(a.head_dim) + a.epsilon);
    if (head >= all_heads) continue;
    __nv_bfloat16* out = is_q   ? q + (row * a.heads + head) * a.head_dim
                         : is_v ? v + (row * a.kv_heads + head - a.heads - a.kv_heads) * a.head_dim
                                : k + (row * a.kv_heads + head - a.heads) * a.head_dim;
    const float scale = is_q ? a.q_scale : 1.0F;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int unit = lane + u * a.group;
      if (unit >= units) continue;
      const bool paired = unit * 2 * V < a.rotary_dim;
      const int first = low_column<V>(a, unit, paired);
      const int second = first + (paired ? pairs : V);
#pragma unroll
      for (int j = 0; j < V; ++j) {
        float x = low[u][j];
        float y = high[u][j];
        if (norm != nullptr) {
          x = x * inverse * norm[first + j];
          if (second + j < a.head_dim) y = y * inverse * norm[second + j];
        }
        if (paired && !is_v) {
          const float cosine = a.cosines[table_row * pairs + first + j];
          const float sine = a.sines[table_row * pairs + first + j];
          const float rotated = x * cosine - y * sine;
          y = y * cosine + x * sine;
          x = rotated;
        }
        low[u][j] = x * scale;
        high[u][j] = y * scale;
      }
      store_bf16<V>(out + first, low[u]);
      if (second < a.head_dim) store_bf16<V>(out + second, high[u]);
    }
  }
}

int group_of(std::int64_t units) {
  int group = 1;
  while (group < units && group < 32) group *= 2;
  return group;
}

}  // namespace

void launch_rotate_qkv(const RotateQkvLaunch& launch, cudaStream_t stream) {
  if (launch.rows == 0 || launch.count == 0) return;
  const AttentionShape& shape = launch.shape;
  Arguments a{};
  a.cosines = launch.cosines;
  a.sines = launch.sines;
  a.q_norm = launch.q_norm;
  a.k_norm = launch.k_norm;
  a.heads = static_cast<int>(shape.heads);
  a.kv_heads = static_cast<int>(shape.kv_heads);
  a.head_dim = static_cast<int>(shape.head_dim);
  a.rotary_dim = static_cast<int>(shape.rotary_dim);
  a.epsilon = launch.norm_epsilon;
  a.q_scale = static_cast<float>(1.0 / sqrt(static_cast<double>(shape.head_dim)));
  a.rows = launch.rows;
  bool wide = shape.head_dim % 16 == 0 && shape.rotary_dim % 16 == 0;
  for (int n = 0; n < launch.count; ++n) {
    const RotateQkvLaunch::Sequence& from = launch.sequences[n];
    a.sequences[n] = {static_cast<const __nv_bfloat16*>(from.qkv), static_cast<__nv_bfloat16*>(from.q),
                      static_cast<__nv_bfloat16*>(from.k), static_cast<__nv_bfloat16*>(from.v)};
    wide = wide && aligned16(from.qkv) && aligned16(from.q) && aligned16(from.k) && aligned16(from.v);
  }
  const dim3 blocks(static_cast<unsigned>(launch.rows), static_cast<unsigned>(launch.count));
  if (wide) {
    a.group = group_of(shape.head_dim / 16);  // at most 16 units: one a thread
    rotate_qkv_kernel<8, 1><<<blocks, kThreads, 0, stream>>>(a);
  } else {
    a.group = group_of((shape.head_dim + 1) / 2);  // at most 128 units: four a thread
    rotate_qkv_kernel<1, 4><<<blocks, kThreads, 0, stream>>>(a);
  }
  check_launch("rotate_qkv");
}

}  // namespace longrope::kernels::cuda
