// Host side of the Hopper attention kernel: an AttentionProblem as kernel arguments, and the launch of one
// configuration.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_hopper_kernel.cuh"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/hopper_host.cuh"
#include "kernels/cuda/tensor_map.hpp"

namespace longrope::kernels::cuda::hopper {

template <class Config>
AttentionArguments arguments_of(const AttentionProblem& problem, const AttentionSchedule& schedule) {
  constexpr const char* kWhere = "attention_hopper";
  const TensorMapShape q{{problem.head_dim, problem.heads, problem.rows}, {kPanelColumns, 1, Config::kTileRows}};
  const TensorMapShape kv{{problem.head_dim, problem.kv_heads, problem.keys()}, {kPanelColumns, 1, Config::kTileKeys}};
  const std::int64_t group = problem.heads / problem.kv_heads;
  AttentionArguments arguments{};
  arguments.q = make_tensor_map(problem.q, q, kWhere);
  arguments.k = make_tensor_map(problem.k, kv, kWhere);
  arguments.v = make_tensor_map(problem.v, kv, kWhere);
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

/// Enqueues one configuration. Preconditions: head_dim <= Config::kHeadDim, a multiple of 8; keys below 2^30.
/// Throws RuntimeError.
template <class Config>
void launch(const AttentionProblem& problem, const AttentionSchedule& schedule, cudaStream_t stream) {
  constexpr const char* kWhere = "attention_hopper";
  const AttentionArguments arguments = arguments_of<Config>(problem, schedule);
  check(cudaFuncSetAttribute(attention_hopper_kernel<Config>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(Config::kSharedBytes)),
        kWhere);
  const std::int64_t blocks = schedule.persistent
                                  ? std::min<std::int64_t>(arguments.order.tiles, schedule.multiprocessors)
                                  : arguments.order.tiles;
  attention_hopper_kernel<Config>
      <<<static_cast<unsigned>(blocks), Config::kThreads, Config::kSharedBytes, stream>>>(arguments);
  check_launch(kWhere);
}

}  // namespace longrope::kernels::cuda::hopper
