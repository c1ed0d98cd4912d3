// Attention of one block of queries of one head: the work item of cpu/attention.cpp, in SIMD chosen at run time.
// Flash attention (Dao et al. 2022, algorithm 1; the online softmax of Milakov & Gimelshein 2018) in float32; under
// bf16 the products are of bf16, q and the probabilities rounded to it, and their sums in float32.
#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"

namespace longrope::kernels {

inline constexpr std::int64_t kQueryBlock = 64;  ///< queries of a work item
inline constexpr std::int64_t kKeyBlock = 256;   ///< keys between two updates of the running maximum

/// Views of one work item. Positions count from the start of the window.
struct AttentionBlock {
  const float* q = nullptr;  ///< [rows, head_dim], scaled by 1/sqrt(head_dim)
  std::int64_t q_stride = 0;
  std::int64_t rows = 0;  ///< 1 .. kQueryBlock
  std::int64_t first_position = 0;
  std::int64_t sliding_window = 0;  ///< 0: none
  std::int64_t head_dim = 0;
  const void* keys = nullptr;    ///< CpuKvBuffer::keys of the head
  const void* values = nullptr;  ///< CpuKvBuffer::values of the head
  DType kv_dtype = DType::f32;
  std::int64_t value_panel_stride = 0;
  void* out = nullptr;  ///< [rows, head_dim]
  std::int64_t out_stride = 0;
  DType out_dtype = DType::f32;
};

/// Fills block.out. A row's bits depend on its position, its q and the keys it sees, never on the block it is in.
/// scratch: attention_scratch_bytes(head_dim), 64-byte aligned.
void attention_block(const AttentionBlock& block, void* scratch);

std::int64_t attention_scratch_bytes(std::int64_t head_dim);

}  // namespace longrope::kernels
