// Host side of the Hopper attention kernels: whether they run here, and the launch.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_hopper_arguments.cuh"
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
