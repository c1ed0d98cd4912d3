// Which tile serves which head_dim, and the launch.
#include <cuda_runtime.h>

#include <limits>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_portable.cuh"
#include "kernels/cuda/attention_rule.hpp"
#include "kernels/cuda/check.hpp"

namespace longrope::kernels::cuda {

namespace {

constexpr const char* kWhere = "attention";

// head_dim up to: warps, rows per warp, keys per step, stages, queries in registers, blocks per multiprocessor.
// Two blocks of 4 warps share a multiprocessor: while one exponentiates, the other keeps the tensor cores busy.
using Tile64 = PortableAttentionTile<64, 4, 32, 64, 2, false, 2>;
using Tile96 = PortableAttentionTile<96, 4, 32, 64, 2, false, 2>;
using Tile128 = PortableAttentionTile<128, 4, 32, 64, 2, false, 2>;
using Tile256 = PortableAttentionTile<256, 4, 16, 32, 2, false, 2>;

// Calls action(Tile{}) with the smallest tile that holds head_dim. Precondition: head_dim <= 256.
template <typename Action>
auto with_tile(std::int64_t head_dim, Action action) {
  if (head_dim <= 64) return action(Tile64{});
  if (head_dim <= 96) return action(Tile96{});
  if (head_dim <= 128) return action(Tile128{});
  return action(Tile256{});
}

template <typename Tile>
std::int64_t blocks_of(const AttentionProblem& problem) {
  return (problem.rows + Tile::kRows - 1) / Tile::kRows * problem.heads;
}

template <typename Tile>
void launch(const AttentionProblem& problem, cudaStream_t stream) {
  const PortableAttentionArguments arguments{.q = static_cast<const __nv_bfloat16*>(problem.q),
                                             .k = static_cast<const __nv_bfloat16*>(problem.k),
                                             .v = static_cast<const __nv_bfloat16*>(problem.v),
                                             .out = static_cast<__nv_bfloat16*>(problem.out),
                                             .heads = problem.heads,
                                             .kv_heads = problem.kv_heads,
                                             .head_dim = problem.head_dim,
                                             .rows = problem.rows,
                                             .first_position = problem.first_position,
                                             .sliding_window = problem.sliding_window,
                                             .row_tiles = (problem.rows + Tile::kRows - 1) / Tile::kRows};
  const auto kernel = portable_attention_kernel<Tile>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes), kWhere);
  kernel<<<static_cast<unsigned>(blocks_of<Tile>(problem)), Tile::kThreads, Tile::kSharedBytes, stream>>>(arguments);
  check_launch(kWhere);
}

int attribute(cudaDeviceAttr name) {
  int device = 0;
  int value = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&value, name, device) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return value;
}

}  // namespace

bool attention_portable_supports(const AttentionProblem& problem) {
  try {
    if (!attention_rule(problem).empty()) return false;
  } catch (...) {  // no memory for the words
    return false;
  }
  if (attribute(cudaDevAttrComputeCapabilityMajor) < 8) return false;
  return with_tile(problem.head_dim, [&](auto tile) {
    using Tile = decltype(tile);
    return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) >= Tile::kSharedBytes &&
           blocks_of<Tile>(problem) <= std::numeric_limits<int>::max();
  });
}

void attention_portable(const AttentionProblem& problem, cudaStream_t stream) {
  with_tile(problem.head_dim, [&](auto tile) { launch<decltype(tile)>(problem, stream); });
}

}  // namespace longrope::kernels::cuda
