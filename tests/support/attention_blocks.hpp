// The blocks of a Hopper attention kernel, run on the host one after the other as a launch would start them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/attention_hopper_arguments.cuh"
#include "tests/support/attention_rows.hpp"

namespace attention_blocks {

using longrope::kernels::cuda::AttentionProblem;
using longrope::kernels::cuda::hopper::AttentionSchedule;

inline AttentionProblem problem_of(attention_rows::Problem& data) {
  const attention_rows::Shape& s = data.shape;
  return {data.q.data(), data.k.data(), data.v.data(), data.out.data(),  s.heads,
          s.kv_heads,    s.head_dim,    s.rows,        s.first_position, s.window};
}

/// Of `blocks` blocks that share all tiles; 0: one block for each tile, kv head after kv head.
inline AttentionSchedule schedule_of(std::int64_t blocks) {
  return {blocks > 0, blocks > 0 ? 0 : 1, static_cast<int>(blocks)};
}

template <class Config, class Kernel>
void run(std::int64_t tiles, const AttentionSchedule& schedule, unsigned seed, Kernel kernel) {
  const std::int64_t grid = schedule.persistent ? std::min<std::int64_t>(schedule.multiprocessors, tiles) : tiles;
  for (std::int64_t b = 0; b < grid; ++b) {
    block_emulation::hopper::run({.block = static_cast<unsigned>(b),
                                  .grid = static_cast<unsigned>(grid),
                                  .threads = Config::kThreads,
                                  .dynamic_bytes = Config::kSharedBytes,
                                  .seed = seed},
                                 kernel);
  }
}

}  // namespace attention_blocks
