// Causal attention on a CUDA device: one problem statement, several implementations that all solve it.
// Q is pre-multiplied by 1/sqrt(head_dim) and, like K and V, already rotated and rounded to bf16 (rotate_qkv).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace longrope::kernels::cuda {

/// A chunk of queries against all keys so far. Device pointers, bf16, 16-byte aligned.
/// Shapes, row-major: q, out [rows, heads, head_dim]; k, v [capacity, kv_heads, head_dim], of which rows
/// [0, first_position + rows) are filled. Query row r stands at position p = first_position + r and sees keys j <= p,
/// and, if sliding_window > 0, only those with p - j < sliding_window. Query head h reads kv head h / (heads /
/// kv_heads). Softmax statistics and accumulation are float32; out is rounded once to bf16.
struct AttentionProblem {
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  void* out = nullptr;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;  ///< divides heads
  std::int64_t head_dim = 0;
  std::int64_t rows = 0;
  std::int64_t first_position = 0;
  std::int64_t sliding_window = 0;  ///< 0: none

  std::int64_t keys() const { return first_position + rows; }
};

/// Whether an implementation can solve this problem on the current device (compute capability, head_dim, library
/// there). Cheap after the first call; never throws.
bool attention_plain_supports(const AttentionProblem& problem);     ///< any head_dim up to 256, any device; slow
bool attention_portable_supports(const AttentionProblem& problem);  ///< mma.sync, sm_80 and up
bool attention_hopper_supports(const AttentionProblem& problem);    ///< wgmma and TMA, sm_90a only
bool attention_cudnn_supports(const AttentionProblem& problem);     ///< libcudnn found at run time

/// Enqueues the problem on `stream`. Precondition: the matching _supports is true. Throws RuntimeError with CUDA's or
/// cuDNN's words when the launch fails. Deterministic: same bits run to run on one device.
void attention_plain(const AttentionProblem& problem, cudaStream_t stream);
void attention_portable(const AttentionProblem& problem, cudaStream_t stream);
void attention_hopper(const AttentionProblem& problem, cudaStream_t stream);
void attention_cudnn(const AttentionProblem& problem, cudaStream_t stream);

}  // namespace longrope::kernels::cuda
