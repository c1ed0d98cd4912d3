// Host side of the Hopper attention kernels: whether they run here, an AttentionProblem as kernel arguments, and the
// launch.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_hopper_block.cuh"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/hopper_host.cuh"
#include "kernels/cuda/tensor_map.hpp"

namespace longrope::kernels::cuda::hopper {

/// Whether the current device and the problem's shape but for head_dim suit these kernels. Never throws.
inline bool can_attend(const AttentionProblem& problem) {
  constexpr std::int64_t kMostKeys = std::int64_t{1} << 30;  // TMA coordinates are 32-bit
  const bool shape = problem.rows > 0 && problem.first_position >= 0 && problem.keys() <= kMostKeys &&
                     problem.kv_heads > 0 && problem.heads % problem.kv_heads == 0;
  return shape && is_hopper() && tensor_maps_available();
}

/// Of the current device. Throws RuntimeError.
inline int multiprocessors(const char* where) {
  int device = 0;
  int count = 0;
  check(cudaGetDevice(&device), where);
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), where);
  return count;
}

/// All but the tensor maps.
template <class Config>
AttentionArguments arguments_of(const AttentionProblem& problem, const AttentionSchedule& schedule) {
  const std::int64_t group = problem.heads / problem.kv_heads;
  AttentionArguments arguments{};
  arguments.out = static_cast<__nv_bfloat16*>(problem.out);
  arguments.heads = problem.heads;
  arguments.head_dim = problem.head_dim;
  arguments.rows = problem.rows;
  arguments.first_position = problem.first_position;
  arguments.window = problem.sliding_window < problem.keys() ? problem.sliding_window : 0;
  arguments.heads_per_kv_head = static_cast<int>(group);
  const std::int64_t section = schedule.section_kv_heads > 0 ? schedule.section_kv_heads : problem.kv_heads;
  arguments.order.row_tiles = (problem.rows + Config::kTileRows - 1) / Config::kTileRows;
  arguments.order.tiles = arguments.order.row_tiles * problem.heads;
  arguments.order.section_heads = static_cast<int>(section * group);
  arguments.order.rows_per_tile = Config::kTileRows;
  return arguments;
}

/// Enqueues a kernel of this configuration for `tiles` query tiles. Throws RuntimeError.
template <class Config, class Arguments>
void launch_blocks(void (*kernel)(Arguments), const Arguments& arguments, std::int64_t tiles,
                   const AttentionSchedule& schedule, const char* where, cudaStream_t stream) {
  check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(Config::kSharedBytes)),
      where);
  const std::int64_t blocks = schedule.persistent ? std::min<std::int64_t>(tiles, schedule.multiprocessors) : tiles;
  kernel<<<static_cast<unsigned>(blocks), Config::kThreads, Config::kSharedBytes, stream>>>(arguments);
  check_launch(where);
}

}  // namespace longrope::kernels::cuda::hopper
