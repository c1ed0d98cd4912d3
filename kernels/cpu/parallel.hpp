// The one way operations use several threads: a fixed list of blocks, each computed whole by one task.
// Blocks never depend on the thread count, and nothing is reduced across them, so neither do the results.
#pragma once

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <cstdint>

namespace longrope::kernels {

/// Calls body(block) for every block in [0, blocks), on as many threads as the caller's arena offers. Isolated: while a
/// thread waits it takes blocks of this loop only, never an outer task whose thread-local scratch would clash.
template <class Body>
void parallel_blocks(std::int64_t blocks, const Body& body) {
  if (blocks == 1) {
    body(std::int64_t{0});
    return;
  }
  oneapi::tbb::this_task_arena::isolate([&] {
    oneapi::tbb::parallel_for(
        oneapi::tbb::blocked_range<std::int64_t>(0, blocks, 1),
        [&](const oneapi::tbb::blocked_range<std::int64_t>& range) {
          for (std::int64_t block = range.begin(); block != range.end(); ++block) body(block);
        },
        oneapi::tbb::simple_partitioner());
  });
}

/// Calls body(first_row, count) for fixed blocks of `rows_per_block` rows, the last one shorter.
template <class Body>
void parallel_rows(std::int64_t rows, std::int64_t rows_per_block, const Body& body) {
  const std::int64_t blocks = (rows + rows_per_block - 1) / rows_per_block;
  parallel_blocks(blocks, [&](std::int64_t block) {
    const std::int64_t first = block * rows_per_block;
    body(first, std::min(rows_per_block, rows - first));
  });
}

}  // namespace longrope::kernels
