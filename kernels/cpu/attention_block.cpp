#include "kernels/cpu/attention_block.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/convert.hpp"
#include "kernels/cpu/attention_scratch.hpp"
#include "kernels/cpu/kv_buffer.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/error.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_block.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/attention_tiles-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longrope::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

/// The work item, key block by key block.
class BlockAttention {
 public:
  BlockAttention(const AttentionBlock& block, void* memory)
      : b_(block),
        s_(memory, block.head_dim),
        cols_(round_up(block.head_dim, kPanel)),
        bf16_(block.kv_dtype == DType::bf16),
        query_steps_(bf16_ ? (block.head_dim + 1) / 2 : block.head_dim) {}

  HWY_ATTR void run() {
    if (b_.rows == 1) {
      run_rows<1>();
    } else {
      run_rows<kTileRows>();
    }
  }

 private:
  /// kRows: how many go through a product together.
  template <int kRows>
  HWY_ATTR void run_rows() {
    pack_queries();
    const std::int64_t last = position(b_.rows - 1);
    const std::int64_t first = first_visible(0) / kKeyBlock * kKeyBlock;
    for (key0_ = first; key0_ <= last; key0_ += kKeyBlock) {
      keys_ = std::min(kKeyBlock, last + 1 - key0_);
      score<kRows>();
      for (std::int64_t group = 0; group < groups(); ++group) softmax<kRows>(group);
      add_values<kRows>();
    }
    write_output();
  }

  std::int64_t groups() const { return (b_.rows + kRowGroup - 1) / kRowGroup; }
  /// Rows that are computed: whole groups, or the only one.
  template <int kRows>
  std::int64_t live_rows() const {
    return kRows == 1 ? 1 : groups() * kRowGroup;
  }
  /// Position of a row; rows that only fill up a group stand where the last row does.
  std::int64_t position(std::int64_t row) const { return b_.first_position + std::min(row, b_.rows - 1); }
  std::int64_t first_visible(std::int64_t row) const {
    return b_.sliding_window > 0 ? std::max<std::int64_t>(0, position(row) - b_.sliding_window + 1) : 0;
  }
  /// Keys [first, second) of the key block that some row of the group sees.
  std::pair<std::int64_t, std::int64_t> visible(std::int64_t group) const {
    const std::int64_t begin = std::max<std::int64_t>(0, first_visible(group * kRowGroup) - key0_);
    const std::int64_t end = std::min(keys_, position(group * kRowGroup + kRowGroup - 1) + 1 - key0_);
    return {begin, std::max(begin, end)};
  }

  void pack_queries() {
    const std::int64_t packed_rows = groups() * kRowGroup;
    for (std::int64_t row = 0; row < packed_rows; ++row) {
      float* out = s_.queries + row / kRowGroup * kRowGroup * query_steps_ + row % kRowGroup;
      const float* q = b_.q + row * b_.q_stride;
      if (row >= b_.rows) {
        for (std::int64_t i = 0; i < query_steps_; ++i) out[i * kRowGroup] = 0.0F;
      } else if (bf16_) {
        for (std::int64_t i = 0; i < query_steps_; ++i) {
          const std::uint32_t low = bf16_from_float(q[2 * i]);
          const std::uint32_t high = 2 * i + 1 < b_.head_dim ? bf16_from_float(q[2 * i + 1]) : 0;
          const std::uint32_t pair = low | high << 16;
          std::memcpy(out + i * kRowGroup, &pair, sizeof pair);
        }
      } else {
        for (std::int64_t i = 0; i < b_.head_dim; ++i) out[i * kRowGroup] = q[i];
      }
    }
    std::fill(s_.output, s_.output + packed_rows * cols_, 0.0F);
    std::fill(s_.max, s_.max + packed_rows, -std::numeric_limits<float>::infinity());
    std::fill(s_.sum, s_.sum + packed_rows, 0.0F);
    std::fill(s_.correction, s_.correction + packed_rows, 0.0F);
  }

  /// scores = Q K^T, by tiles of keys that stay in the first-level cache while all rows use them.
  template <int kRows>
  HWY_ATTR void score() {
    for (std::int64_t tile = 0; tile < keys_; tile += kKeyTile) {
      for (std::int64_t group = 0; group < groups(); ++group) {
        const auto [begin, end] = visible(group);
        if (tile + kKeyTile <= begin || tile >= end) continue;
        for (std::int64_t key = tile; key < tile + kKeyTile; key += 2 * kLanes) {
          for (std::int64_t r = 0; r < std::min(kRowGroup, live_rows<kRows>()); r += kRows) {
#ifdef LONGROPE_BF16_PRODUCTS
            if (bf16_) {
              score_tile_bf16<kRows>(group, r, key);
              continue;
            }
#endif
            score_tile<kRows>(group, r, key);
          }
        }
      }
    }
  }

  template <int kRows>
  HWY_ATTR void score_tile(std::int64_t group, std::int64_t row, std::int64_t key) {
    const FloatTag d;
    FloatVec acc[kRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = hn::Zero(d);
    const float* key_panels = static_cast<const float*>(b_.keys) + key0_ * b_.head_dim;
    const float* const panels[2] = {panel_address(key_panels, kPanel * b_.head_dim, key),
                                    panel_address(key_panels, kPanel * b_.head_dim, key + kLanes)};
    accumulate<kRows, 2, kRowGroup, 1>(s_.queries + group * kRowGroup * b_.head_dim + row, panels, b_.head_dim, acc);
    float* out = s_.scores + (group * kRowGroup + row) * kScoreStride + key;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      hn::Store(acc[r][0], d, out + r * kScoreStride);
      hn::Store(acc[r][1], d, out + r * kScoreStride + kLanes);
    }
  }

#ifdef LONGROPE_BF16_PRODUCTS
  template <int kRows>
  LONGROPE_BF16_PRODUCTS void score_tile_bf16(std::int64_t group, std::int64_t row, std::int64_t key) {
    FloatVec acc[kRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) acc[r][0].raw = acc[r][1].raw = _mm512_setzero_ps();
    const std::int64_t columns = 2 * query_steps_;
    const auto* first = static_cast<const std::uint16_t*>(b_.keys) + (key0_ + key) * columns;
    const std::uint16_t* const panels[2] = {first, first + kPanel * columns};
    accumulate_bf16<kRows, 2, kRowGroup, 1>(s_.queries + group * kRowGroup * query_steps_ + row, panels, query_steps_,
                                            acc);
    float* out = s_.scores + (group * kRowGroup + row) * kScoreStride + key;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      _mm512_store_ps(out + r * kScoreStride, acc[r][0].raw);
      _mm512_store_ps(out + r * kScoreStride + kPanel, acc[r][1].raw);
    }
  }
#endif

  /// Masks a group's scores, turns them into exp(score - new max), and updates max, sum and correction.
  template <int kRows>
  HWY_ATTR void softmax(std::int64_t group) {
    const auto [group_begin, group_end] = visible(group);
    if (group_begin == group_end) return;
    const std::int64_t begin = group_begin / kKeyTile * kKeyTile;
    const std::int64_t end = round_up(group_end, kKeyTile);
    const std::int64_t row0 = group * kRowGroup;
    const std::int64_t rows = std::min(kRowGroup, live_rows<kRows>());
    const float lowest = -std::numeric_limits<float>::infinity();
    float reference[kRowGroup];  // new max, or 0 while no key is visible: -inf - 0 stays -inf, -inf - -inf is NaN
    for (std::int64_t r = 0; r < rows; ++r) {
      float* scores = s_.scores + (row0 + r) * kScoreStride;
      mask(scores, begin, end, row0 + r);
      const float old_max = s_.max[row0 + r];
      const float new_max = std::max(old_max, row_max(scores, begin, end));
      reference[r] = new_max == lowest ? 0.0F : new_max;
      s_.max[row0 + r] = new_max;
      s_.correction[row0 + r] = old_max - reference[r];
    }
    const hn::CappedTag<float, kRowGroup> d;
    for (std::int64_t r = 0; r < rows; r += static_cast<std::int64_t>(hn::Lanes(d))) {
      float* correction = s_.correction + row0 + r;
      hn::Store(exp_nonpositive(d, hn::Load(d, correction)), d, correction);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      float* scores = s_.scores + (row0 + r) * kScoreStride;
      float sum = 0.0F;
#ifdef LONGROPE_BF16_PRODUCTS
      if (bf16_) {
        sum = exponentiate_bf16(scores, begin, end, reference[r]);
      } else
#endif
        sum = exponentiate(scores, begin, end, reference[r]);
      s_.sum[row0 + r] = s_.sum[row0 + r] * s_.correction[row0 + r] + sum;
    }
  }

  void mask(float* scores, std::int64_t begin, std::int64_t end, std::int64_t row) const {
    const float lowest = -std::numeric_limits<float>::infinity();
    const std::int64_t from = std::clamp(first_visible(row) - key0_, begin, end);
    const std::int64_t to = std::clamp(position(row) + 1 - key0_, begin, end);
    std::fill(scores + begin, scores + from, lowest);
    std::fill(scores + to, scores + end, lowest);
  }

  /// output = output * correction + P V, by panels of columns that stay in the first-level cache.
  template <int kRows>
  HWY_ATTR void add_values() {
    std::int64_t column = 0;
#ifdef LONGROPE_BF16_PRODUCTS
    if (bf16_) {
      for (; column + 2 * kPanel <= cols_; column += 2 * kPanel) add_value_columns_bf16<kRows, 2>(column);
      for (; column < cols_; column += kPanel) add_value_columns_bf16<kRows, 1>(column);
      return;
    }
#endif
    for (; column + 2 * kLanes <= cols_; column += 2 * kLanes) add_value_columns<kRows, 2>(column);
    for (; column < cols_; column += kLanes) add_value_columns<kRows, 1>(column);
  }

  template <int kRows, int kVectors>
  HWY_ATTR void add_value_columns(std::int64_t column) {
    const FloatTag d;
    for (std::int64_t row = 0; row < live_rows<kRows>(); row += kRows) {
      const auto [begin, end] = visible(row / kRowGroup);
      if (begin == end) continue;
      FloatVec acc[kRows][kVectors];
      float* out = s_.output + row * cols_ + column;
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const FloatVec correction = hn::Set(d, s_.correction[row + r]);
        acc[r][0] = hn::Mul(hn::Load(d, out + r * cols_), correction);
        if constexpr (kVectors > 1) acc[r][1] = hn::Mul(hn::Load(d, out + r * cols_ + kLanes), correction);
      }
      const float* value_panels = static_cast<const float*>(b_.values) + (key0_ + begin) * kPanel;
      const float* const panels[2] = {
          panel_address(value_panels, b_.value_panel_stride, column),
          panel_address(value_panels, b_.value_panel_stride, column + (kVectors - 1) * kLanes)};
      accumulate<kRows, kVectors, 1, kScoreStride>(s_.scores + row * kScoreStride + begin, panels, end - begin, acc);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        hn::Store(acc[r][0], d, out + r * cols_);
        if constexpr (kVectors > 1) hn::Store(acc[r][1], d, out + r * cols_ + kLanes);
      }
    }
  }

#ifdef LONGROPE_BF16_PRODUCTS
  /// Keys in pairs: one that stands beside a visible one, and is not, has probability 0 and some finite value.
  template <int kRows, int kVectors>
  LONGROPE_BF16_PRODUCTS void add_value_columns_bf16(std::int64_t column) {
    for (std::int64_t row = 0; row < live_rows<kRows>(); row += kRows) {
      const auto [visible_begin, end] = visible(row / kRowGroup);
      if (visible_begin == end) continue;
      const std::int64_t begin = visible_begin / 2 * 2;
      FloatVec acc[kRows][kVectors];
      float* out = s_.output + row * cols_ + column;
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m512 correction = _mm512_set1_ps(s_.correction[row + r]);
        acc[r][0].raw = _mm512_mul_ps(_mm512_load_ps(out + r * cols_), correction);
        if constexpr (kVectors > 1) acc[r][1].raw = _mm512_mul_ps(_mm512_load_ps(out + r * cols_ + kPanel), correction);
      }
      const auto* first = static_cast<const std::uint16_t*>(b_.values) + column / kPanel * b_.value_panel_stride +
                          (key0_ + begin) * kPanel;
      const std::uint16_t* const panels[2] = {first, first + (kVectors - 1) * b_.value_panel_stride};
      const float* pairs = s_.scores + row * kScoreStride + begin / 2;
      accumulate_bf16<kRows, kVectors, 1, kScoreStride>(pairs, panels, (end - begin + 1) / 2, acc);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        _mm512_store_ps(out + r * cols_, acc[r][0].raw);
        if constexpr (kVectors > 1) _mm512_store_ps(out + r * cols_ + kPanel, acc[r][1].raw);
      }
    }
  }
#endif

  void write_output() const {
    for (std::int64_t row = 0; row < b_.rows; ++row) {
      const float inverse = 1.0F / s_.sum[row];
      const float* from = s_.output + row * cols_;
      if (b_.out_dtype == DType::bf16) {
        auto* to = static_cast<std::uint16_t*>(b_.out) + row * b_.out_stride;
        for (std::int64_t i = 0; i < b_.head_dim; ++i) to[i] = bf16_from_float(from[i] * inverse);
      } else {
        auto* to = static_cast<float*>(b_.out) + row * b_.out_stride;
        for (std::int64_t i = 0; i < b_.head_dim; ++i) to[i] = from[i] * inverse;
      }
    }
  }

  const AttentionBlock& b_;
  AttentionScratch s_;
  std::int64_t cols_;
  bool bf16_;
  std::int64_t query_steps_;  // products that make a score: columns, or pairs of them
  std::int64_t key0_ = 0;     // first key of the block
  std::int64_t keys_ = 0;     // keys of the block that some row sees
};

}  // namespace

HWY_ATTR void run_block(const AttentionBlock& block, void* scratch) {
#ifndef LONGROPE_BF16_PRODUCTS
  if (block.kv_dtype == DType::bf16) throw RuntimeError("[attention] bf16 needs AVX-512 BF16 instructions");
#endif
  BlockAttention(block, scratch).run();
}

}  // namespace longrope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longrope::kernels {

HWY_EXPORT(run_block);

void attention_block(const AttentionBlock& block, void* scratch) { HWY_DYNAMIC_DISPATCH(run_block)(block, scratch); }

std::int64_t attention_scratch_bytes(std::int64_t head_dim) {
  return AttentionScratch::floats(head_dim) * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace longrope::kernels
#endif
