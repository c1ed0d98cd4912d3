// K and V of one layer in the order attention reads them: vectors of 16 keys for Q K^T, vectors of 16 columns for P V.
//   K [kv_heads][capacity/16][head_dim][16 keys]             rotated
//   V [kv_heads][value_cols/16][capacity][16 columns]        value_cols = head_dim rounded up to 16
// Elements are f32. Under Precision::bf16 they are bf16, in the pairs whose products one instruction adds:
//   K [kv_heads][capacity/16][key_cols/2][16 keys][2]        key_cols = head_dim rounded up to 2
//   V [kv_heads][value_cols/16][capacity/2][16 columns][2]
// Fresh buffers are zero, so padding is finite.
#pragma once

#include <cstring>
#include <memory>

#include "kernels/backend.hpp"
#include "kernels/check.hpp"
#include "kernels/cpu/aligned.hpp"

namespace longrope::kernels {

inline constexpr std::int64_t kPanel = 16;    ///< keys of a K panel, columns of a V panel
inline constexpr std::int64_t kKeyTile = 32;  ///< attention reads whole tiles of keys; capacities are multiples

class CpuKvBuffer final : public KvBuffer {
 public:
  CpuKvBuffer(const AttentionShape& shape, std::int64_t capacity_tokens, DType dtype)
      : kv_heads_(shape.kv_heads),
        head_dim_(shape.head_dim),
        tokens_(capacity_tokens),
        padded_tokens_(round_up(capacity_tokens, kKeyTile)),
        dtype_(dtype),
        keys_(zeros(kv_heads_ * padded_tokens_ * key_cols() * bytes_of(dtype))),
        values_(zeros(kv_heads_ * padded_tokens_ * value_cols() * bytes_of(dtype))) {}

  std::int64_t capacity_tokens() const override { return tokens_; }
  std::int64_t kv_heads() const { return kv_heads_; }
  std::int64_t head_dim() const { return head_dim_; }
  std::int64_t key_cols() const { return dtype_ == DType::bf16 ? round_up(head_dim_, 2) : head_dim_; }
  std::int64_t value_cols() const { return round_up(head_dim_, kPanel); }
  DType dtype() const { return dtype_; }

  /// Elements from one V panel (16 columns of all tokens) to the next.
  std::int64_t value_panel_stride() const { return padded_tokens_ * kPanel; }

  void* keys(std::int64_t kv_head) const { return at(keys_, kv_head * padded_tokens_ * key_cols()); }
  void* values(std::int64_t kv_head) const { return at(values_, kv_head * padded_tokens_ * value_cols()); }

  /// Element offset of K[token][column] in keys(kv_head).
  std::int64_t key_offset(std::int64_t token, std::int64_t column) const {
    const std::int64_t panel = token / kPanel * kPanel * key_cols();
    if (dtype_ == DType::bf16) return panel + column / 2 * 2 * kPanel + token % kPanel * 2 + column % 2;
    return panel + column * kPanel + token % kPanel;
  }
  /// Element offset of V[token][column] in values(kv_head).
  std::int64_t value_offset(std::int64_t token, std::int64_t column) const {
    const std::int64_t panel = column / kPanel * value_panel_stride();
    if (dtype_ == DType::bf16) return panel + token / 2 * 2 * kPanel + column % kPanel * 2 + token % 2;
    return panel + token * kPanel + column % kPanel;
  }

 private:
  static std::shared_ptr<void> zeros(std::int64_t bytes) {
    std::shared_ptr<void> memory = allocate_aligned(bytes);
    std::memset(memory.get(), 0, static_cast<std::size_t>(bytes));
    return memory;
  }
  void* at(const std::shared_ptr<void>& memory, std::int64_t element) const {
    return static_cast<char*>(memory.get()) + element * bytes_of(dtype_);
  }

  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::int64_t tokens_;
  std::int64_t padded_tokens_;
  DType dtype_;
  std::shared_ptr<void> keys_;
  std::shared_ptr<void> values_;
};

}  // namespace longrope::kernels
