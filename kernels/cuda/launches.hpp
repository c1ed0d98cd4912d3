// The kernels of this folder that are not products or attention: each enqueues one operation on a stream and throws
// RuntimeError if the launch fails. Device pointers; bf16 data as void*. Matrices are row-major and dense.
// A block works on one row, whose bits do not depend on the other rows: which variant of a kernel runs (16-byte loads
// or not) depends on a row's length, and on where a matrix begins only if that is not a multiple of 16 bytes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/backend.hpp"
#include "kernels/cuda/logit_choice.hpp"
#include "kernels/cuda/rotation_batch.hpp"

namespace longrope::kernels::cuda {

/// out[t] = table[ids[t]] as float32; table [vocabulary, hidden] f32 or bf16, out [tokens, hidden].
void launch_embed(const void* table, DType dtype, const std::int32_t* ids, std::int64_t tokens, std::int64_t hidden,
                  float* out, cudaStream_t stream);

/// y = x / sqrt(mean(x^2) + epsilon) * weight, row by row. x f32, y bf16 [rows, n].
void launch_rms_norm(const float* x, const float* weight, float epsilon, std::int64_t rows, std::int64_t n, void* y,
                     cudaStream_t stream);

/// y = silu(gate) * up. gate_up bf16 [rows, 2n], y bf16 [rows, n].
void launch_gated_silu(const void* gate_up, std::int64_t rows, std::int64_t n, void* y, cudaStream_t stream);

/// y = x / scale in e4m3, scale[r] = max|x[r]| / 448 (1 for a row of zeros or below 1e-30). x bf16 [rows, n], y [rows,
/// n] bytes.
void launch_quantize_rows(const void* x, std::int64_t rows, std::int64_t n, void* y, float* scales,
                          cudaStream_t stream);

/// cosines, sines [sequences, rows, pairs] of positions first_position .. first_position + rows - 1.
void launch_rotation(const RotationBatch& batch, std::int64_t first_position, std::int64_t rows, float* cosines,
                     float* sines, cudaStream_t stream);

/// What rotate_qkv reads and writes. Of each sequence qkv bf16 [rows, (heads + 2 kv_heads) head_dim], q bf16 [rows,
/// heads * head_dim]; k, v bf16 [rows, kv_heads, head_dim]: the chunk's first row in the K and V buffer.
struct RotateQkvLaunch {
  struct Sequence {
    const void* qkv = nullptr;
    void* q = nullptr;
    void* k = nullptr;
    void* v = nullptr;
  };
  Sequence sequences[RotationBatch::kMaxSequences];
  int count = 0;
  const float* cosines = nullptr;  ///< [count, rows, rotary_dim/2]
  const float* sines = nullptr;
  const float* q_norm = nullptr;  ///< [head_dim] or null
  const float* k_norm = nullptr;
  AttentionShape shape;
  std::int64_t rows = 0;
  float norm_epsilon = 0.0F;
};
void launch_rotate_qkv(const RotateQkvLaunch& launch, cudaStream_t stream);

/// Widest vocabulary tile of launch_logit_sums.
inline constexpr std::int64_t kMaxLogitTile = 8192;

/// The softmax normaliser of a row over the tiles so far, and its target's logit. Born on the first tile.
struct LogitState {
  double max;
  double sum;
  double target;
};

/// Adds a tile of logits to the rows' states. logits f32 [rows, stride], columns 0 .. count - 1 are vocabulary
/// entries first_entry ..; stride a multiple of 4, logits 16-byte aligned, count <= kMaxLogitTile. nll [rows] is
/// written on the last tile (null before): NaN if a logit was not finite.
struct LogitTile {
  const float* logits = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
  std::int64_t first_entry = 0;
  std::int64_t count = 0;
  const std::int32_t* targets = nullptr;  ///< [rows]
  LogitState* states = nullptr;           ///< [rows]
  double* nll = nullptr;
};
void launch_logit_sums(const LogitTile& tile, cudaStream_t stream);

/// Adds a tile of logits to the rows' choices. logits f32 [rows, stride], columns 0 .. count - 1 are vocabulary entries
/// first_entry ..; choices [rows], born on the first tile.
struct ChoiceTile {
  const float* logits = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
  std::int64_t first_entry = 0;
  std::int64_t count = 0;
  LogitChoice* choices = nullptr;
};
void launch_largest_logits(const ChoiceTile& tile, cudaStream_t stream);

/// *differs = 1 if a row of the matrix is not `expected` to the bit, else it is left alone. row_bytes, a multiple of 2:
/// of each row and of expected.
void launch_find_other_rows(const void* matrix, std::int64_t pitch_bytes, std::int64_t rows, const void* expected,
                            std::int64_t row_bytes, std::int32_t* differs, cudaStream_t stream);

/// What a row's softmax normaliser takes from a tile of logits: sum of exp(logit - max), NaN if one was not finite.
struct LogitPartial {
  float max;
  float sum;
};

/// nll [rows] from the partials [tiles, rows] and the targets' logits [rows]; NaN if a logit was not finite.
void launch_combine_partials(const LogitPartial* partials, const float* target_logits, std::int64_t rows,
                             std::int64_t tiles, double* nll, cudaStream_t stream);

}  // namespace longrope::kernels::cuda
