// How many bytes a backend takes for what a model packs and for what the operations need beside the caller's buffers.
// Plain numbers, so that a plan can be made, and tested, without the device it is for.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/backend.hpp"
#include "kernels/cuda/attention_fp8_layout.hpp"

namespace longrope::kernels {

/// A product's first use on a GPU tries at least so many rows, or more that take no more bytes than this
/// (kernels/cuda/gemm_probe.hpp).
inline constexpr std::int64_t kProbeRows = 300, kProbeBytes = std::int64_t{8} << 20;

/// What the scratch of a window's operations depends on.
struct ScratchShape {
  std::int64_t tokens = 0;  ///< of the window
  std::int64_t rows = 0;    ///< that go through a layer at once
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
  std::int64_t vocabulary = 0;
  AttentionShape attention;
};

/// One backend at one precision. The counts follow its sources; they are exact for what allocate() is asked, upper
/// bounds for scratch.
struct MemoryFormat {
  std::int64_t projection_bytes = 4;      ///< per element of a packed projection
  std::int64_t projection_row_bytes = 0;  ///< per output feature beside the elements: scales and bias
  std::int64_t head_bytes = 4;            ///< per element of the LM head
  bool embedding_f16 = true;              ///< an f16 embedding stays so; else it becomes float32
  std::int64_t column_multiple = 1;       ///< columns of packed matrices are padded to it
  DType activation = DType::f32;
  DType projection = DType::f32;  ///< of qkv, q and gate|up
  DType kv = DType::f32;
  std::int64_t kv_token_multiple = 1;  ///< K and V have room for a multiple of it
  std::int64_t v_column_multiple = 1;  ///< a head's V columns are padded to it
  std::int64_t rotation_bytes = 0;     ///< of a RotationTable, per position and pair of dimensions
  std::int64_t k_column_multiple = 1;  ///< and its K columns to this
  std::int64_t product_rows = 0;       ///< products of fewer rows are padded to it in scratch; 0: never
  bool chunk_scratch = false;          ///< operations allocate device memory of their own, as on a GPU
  bool fp8 = false;                    ///< activations are quantised into a buffer of their own
  bool fp8_attention = false;          ///< so are Q, K and V, for every chunk
  std::int64_t fixed_bytes = 0;        ///< taken once: kernel images, libraries, what threads keep

  static constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
  }

  /// pack_linear of [out, in].
  std::int64_t linear(std::int64_t out, std::int64_t in) const {
    return out * (round_up(in, column_multiple) * projection_bytes + projection_row_bytes);
  }
  /// pack_lm_head of [vocabulary, hidden].
  std::int64_t lm_head(std::int64_t vocabulary, std::int64_t hidden) const {
    return vocabulary * round_up(hidden, column_multiple) * head_bytes;
  }
  /// pack_embedding of [vocabulary, hidden] stored as `dtype`.
  std::int64_t embedding(std::int64_t vocabulary, std::int64_t hidden, DType dtype) const {
    return vocabulary * hidden * (dtype == DType::f16 && !embedding_f16 ? 4 : bytes_of(dtype));
  }
  /// make_kv_buffer.
  std::int64_t kv_buffer(const AttentionShape& shape, std::int64_t tokens) const {
    const std::int64_t columns =
        round_up(shape.head_dim, k_column_multiple) + round_up(shape.head_dim, v_column_multiple);
    return shape.kv_heads * round_up(tokens, kv_token_multiple) * columns * bytes_of(kv);
  }
  /// make_rotation_table.
  std::int64_t rotation(std::int64_t pairs, std::int64_t tokens) const { return pairs * tokens * rotation_bytes; }
  /// The most that operations of one window hold at once beside their arguments.
  std::int64_t scratch(const ScratchShape& s) const {
    if (!chunk_scratch) {
      constexpr std::int64_t kLogitColumns = 1024;
      const std::int64_t query = s.attention.heads * s.attention.head_dim;
      const std::int64_t in = std::max({s.hidden, s.intermediate, query});
      const std::int64_t out = std::max({s.hidden, 2 * s.intermediate, s.attention.qkv_cols(), kLogitColumns});
      return product_rows * (in * bytes_of(activation) + out * bytes_of(projection));
    }
    constexpr std::int64_t kProductWorkspace = std::int64_t{32} << 20;
    constexpr std::int64_t kLogitRows = 8192;
    constexpr std::int64_t kLogitColumns = 8192;
    constexpr std::int64_t kPoolGranularity = std::int64_t{64} << 20;  // what pools lose to rounding
    const std::int64_t ids = 4 * s.tokens;
    const std::int64_t rotation_chunk = s.rows * s.attention.rotary_dim / 2 * 8;
    const std::int64_t widest = std::max({s.hidden, s.intermediate, s.attention.heads * s.attention.head_dim});
    const std::int64_t padded = s.rows * round_up(widest, column_multiple) * bytes_of(activation);
    const std::int64_t quantised = fp8 ? s.rows * (widest + 4) : 0;
    const std::int64_t tile = std::min(s.rows, kLogitRows) * std::min(round_up(s.vocabulary, 128), kLogitColumns) * 4;
    // A kernel that keeps no logits leaves 8 bytes per row and 256 entries instead: less, up to a million entries.
    const std::int64_t loss = tile + s.rows * 40;  // targets, states and values of the rows
    const AttentionShape& a = s.attention;
    const std::int64_t attention =
        fp8_attention ? cuda::fp8::Workspace({a.heads, a.kv_heads, a.head_dim, s.rows, s.tokens}).bytes : 0;
    const std::int64_t outputs =
        std::max({2 * s.intermediate * bytes_of(projection), a.qkv_cols() * bytes_of(projection), 4 * s.hidden,
                  4 * std::min(round_up(s.vocabulary, 128), kLogitColumns)});
    const std::int64_t probe_row = round_up(widest, column_multiple) * bytes_of(activation) + outputs;
    const std::int64_t probe = std::max(kProbeBytes, kProbeRows * (probe_row + 4)) + outputs;
    return std::max({ids, rotation_chunk, padded + quantised + kProductWorkspace, padded + loss + kProductWorkspace,
                     attention, probe + kProductWorkspace}) +
           kPoolGranularity;
  }
};

/// Backend::preferred_chunk_tokens.
inline constexpr std::int64_t kCpuChunkTokens = 1024, kCudaChunkTokens = 8192;

/// `threads`: how many keep scratch of their own between calls.
inline MemoryFormat cpu_memory_format(Precision precision, std::int64_t threads) {
  MemoryFormat format;
  const bool bf16 = precision == Precision::bf16;
  format.projection_bytes = format.head_bytes = bf16 ? 2 : 4;
  format.projection_row_bytes = 4;
  format.activation = format.kv = bf16 ? DType::bf16 : DType::f32;
  format.kv_token_multiple = 32;
  format.v_column_multiple = 16;
  format.k_column_multiple = bf16 ? 2 : 1;
  format.product_rows = 256;
  format.rotation_bytes = 8;
  format.fixed_bytes = std::min<std::int64_t>(threads, 256) * (std::int64_t{4} << 20);
  return format;
}

/// Precision::f32 is read as bf16: a GPU multiplies nothing wider here.
inline MemoryFormat cuda_memory_format(Precision precision,
                                       AttentionPrecision attention = AttentionPrecision::as_activations) {
  MemoryFormat format;
  format.fp8 = precision == Precision::fp8;
  format.fp8_attention = attention == AttentionPrecision::fp8;
  format.projection_bytes = format.fp8 ? 1 : 2;
  format.projection_row_bytes = 4 + 2 + 4;
  format.head_bytes = 2;
  format.embedding_f16 = false;
  format.column_multiple = 8;
  format.activation = format.projection = format.kv = DType::bf16;
  format.chunk_scratch = true;
  format.fixed_bytes = std::int64_t{512} << 20;
  return format;
}

}  // namespace longrope::kernels
