// Logits of rows of hidden state, a tile of rows x vocabulary entries at a time, for whoever reduces them.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/cuda/weights.hpp"

namespace longrope::kernels::cuda {

/// logits = x W^T. Device pointers to bf16, 16-byte aligned: x [rows, columns], weight [vocabulary, columns].
struct LogitProblem {
  const void* x = nullptr;
  const void* weight = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;  ///< a multiple of 8
  std::int64_t vocabulary = 0;
};

/// A tile in device memory: logits f32 [rows, stride], of rows first_row .. and entries first_entry .. + count - 1.
struct LogitBlock {
  const float* logits = nullptr;
  std::int64_t stride = 0;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::int64_t first_entry = 0;
  std::int64_t count = 0;
  bool last = false;  ///< of these rows
};

/// Enqueues the product of each tile on the calling thread's stream, and calls visit to enqueue what reads it: row
/// block by row block of at most kLogitRows, the vocabulary in order. Throws RuntimeError.
void for_each_logit_tile(const Context& context, const LogitProblem& problem,
                         const std::function<void(const LogitBlock&)>& visit);

/// Chooses the products' algorithms now (Gemm::prepare); x and rows do not matter.
void prepare_logit_tiles(const Context& context, const LogitProblem& problem);

/// Most rows of a tile.
inline constexpr std::int64_t kLogitRows = 8192;

}  // namespace longrope::kernels::cuda
