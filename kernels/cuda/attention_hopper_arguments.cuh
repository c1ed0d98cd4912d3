// An AttentionProblem as the Hopper attention kernels take it. Touches no device.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_hopper_block.cuh"

namespace longrope::kernels::cuda::hopper {

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

}  // namespace longrope::kernels::cuda::hopper
