// Which attention problems cuDNN is asked to solve, and which of them share a plan or a trial.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "kernels/cuda/attention.hpp"

namespace longrope::kernels::cuda {

/// What a plan is compiled for. Query row r stands at position keys - rows + r and sees keys up to its own position,
/// the last `sliding_window` of them if that is not 0.
struct CudnnAttentionShape {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t rows = 0;
  std::int64_t keys = 0;
  std::int64_t sliding_window = 0;

  auto operator<=>(const CudnnAttentionShape&) const = default;
};

/// The shapes that stand or fall with one trial: any number of rows (above one) and keys.
struct CudnnAttentionFamily {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  bool windowed = false;
  bool one_row = false;

  auto operator<=>(const CudnnAttentionFamily&) const = default;
};

/// The rule of this route that the problem breaks, in words; empty when it breaks none. Touches no device.
std::string cudnn_attention_rule(const AttentionProblem& problem);

/// A window that no query fills is no window, and one row has none: it starts after its hidden keys. Precondition of
/// both: cudnn_attention_rule is empty.
CudnnAttentionShape cudnn_attention_shape(const AttentionProblem& problem);
/// How many leading keys no query sees are left out of the shape; k and v start after them.
std::int64_t cudnn_attention_hidden_keys(const AttentionProblem& problem);

CudnnAttentionFamily cudnn_attention_family(const CudnnAttentionShape& shape);

}  // namespace longrope::kernels::cuda
