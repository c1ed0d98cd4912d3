#include "kernels/cpu/attention_block.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/convert.hpp"
#include "kernels/cpu/kv_buffer.hpp"
#include "kernels/cpu/simd.hpp"
#include "kernels/error.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_block.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd_exp-inl.hpp"

#ifndef LONGROPE_ATTENTION_LAYOUT
#define LONGROPE_ATTENTION_LAYOUT
namespace longrope::kernels {

inline constexpr std::int64_t kRowGroup = 8;                      // rows whose products share loads of K and V
inline constexpr std::int64_t kScoreStride = kKeyBlock + kPanel;  // not a power of two: rows differ in cache set

/// Scratch of one work item, in floats.
struct AttentionScratch {
  float* queries;     // [kQueryBlock/8][head_dim][8]; bf16: [kQueryBlock/8][key_cols/2][8] pairs of columns
  float* scores;      // [kQueryBlock][kScoreStride], then probabilities; bf16: in the first half of each row
  float* output;      // [kQueryBlock][value_cols], not yet divided by `sum`
  float* max;         // [kQueryBlock] running maximum
  float* sum;         // [kQueryBlock] running sum of exp(score - max)
  float* correction;  // [kQueryBlock] exp(old max - new max)

  static std::int64_t floats(std::int64_t head_dim) {
    const std::int64_t cols = round_up(head_dim, kPanel);
    return kQueryBlock * (2 * cols + kScoreStride + 3);
  }
  AttentionScratch(void* memory, std::int64_t head_dim) {
    const std::int64_t cols = round_up(head_dim, kPanel);
    auto* next = static_cast<float*>(memory);
    const auto take = [&next](std::int64_t count) {
      float* taken = next;
      next += count;
      return taken;
    };
    queries = take(kQueryBlock * cols);
    scores = take(kQueryBlock * kScoreStride);
    output = take(kQueryBlock * cols);
    max = take(kQueryBlock);
    sum = take(kQueryBlock);
    correction = take(kQueryBlock);
  }
};

}  // namespace longrope::kernels
#endif

// Products of bf16 pairs, added in float32: an extension of AVX-512 that Highway 1.0 does not know. Functions that use
// it are compiled for it by name; bf16 backends exist only where the processor has it.
#undef LONGROPE_BF16_PRODUCTS
#if defined(__x86_64__) && HWY_TARGET == HWY_AVX3
#define LONGROPE_BF16_PRODUCTS __attribute__((target("avx512bf16")))
#endif

HWY_BEFORE_NAMESPACE();
namespace longrope::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::CappedTag<float, kPanel>;
using FloatVec = hn::Vec<FloatTag>;
constexpr std::int64_t kLanes = hn::MaxLanes(FloatTag());
constexpr int kTileRows = HWY_MAX_BYTES >= 64 ? 8 : 4;  // 8 x 2 accumulators need 32 registers, 4 x 2 need 16

/// acc[r][v] += sum over t < count of a[t * a_step + r * a_row] * b[v][t * kPanel ...]: rank-1 updates held in
/// registers. The sums of a row are the same whatever kRows.
template <int kRows, int kVectors, std::int64_t kStep, std::int64_t kRow>
HWY_INLINE void accumulate(const float* HWY_RESTRICT a, const float* const* b, std::int64_t count,
                           FloatVec (&acc)[kRows][kVectors]) {
  const FloatTag d;
  const float* HWY_RESTRICT b0 = b[0];
  const float* HWY_RESTRICT b1 = b[kVectors - 1];
  for (std::int64_t t = 0; t < count; ++t) {
    const FloatVec v0 = hn::Load(d, b0);
    const FloatVec v1 = hn::Load(d, b1);
    b0 += kPanel;
    b1 += kPanel;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const FloatVec s = hn::Set(d, a[r * kRow]);
      acc[r][0] = hn::MulAdd(s, v0, acc[r][0]);
      if constexpr (kVectors > 1) acc[r][1] = hn::MulAdd(s, v1, acc[r][1]);
    }
    a += kStep;
  }
}

#ifdef LONGROPE_BF16_PRODUCTS
/// The same over pairs of terms: a holds two bf16 in the place of a float, and so does b.
template <int kRows, int kVectors, std::int64_t kStep, std::int64_t kRow>
LONGROPE_BF16_PRODUCTS inline void accumulate_bf16(const float* HWY_RESTRICT a, const std::uint16_t* const* b,
                                                   std::int64_t count, FloatVec (&acc)[kRows][kVectors]) {
  const std::uint16_t* HWY_RESTRICT b0 = b[0];
  const std::uint16_t* HWY_RESTRICT b1 = b[kVectors - 1];
  for (std::int64_t t = 0; t < count; ++t) {
    const auto v0 = reinterpret_cast<__m512bh>(_mm512_load_si512(b0));
    const auto v1 = reinterpret_cast<__m512bh>(_mm512_load_si512(b1));
    b0 += 2 * kPanel;
    b1 += 2 * kPanel;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      std::int32_t pair = 0;
      std::memcpy(&pair, a + r * kRow, sizeof pair);
      const auto s = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      acc[r][0].raw = _mm512_dpbf16_ps(acc[r][0].raw, s, v0);
      if constexpr (kVectors > 1) acc[r][1].raw = _mm512_dpbf16_ps(acc[r][1].raw, s, v1);
    }
    a += kStep;
  }
}
#endif

/// Address of lane `lane` (a multiple of kLanes) of 16-wide panels.
HWY_INLINE const float* panel_address(const float* panels, std::int64_t panel_stride, std::int64_t lane) {
  return panels + lane / kPanel * panel_stride + lane % kPanel;
}

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

  static HWY_ATTR float row_max(const float* scores, std::int64_t begin, std::int64_t end) {
    const FloatTag d;
    FloatVec max0 = hn::Set(d, -std::numeric_limits<float>::infinity());
    FloatVec max1 = max0;
    for (std::int64_t key = begin; key < end; key += 2 * kLanes) {
      max0 = hn::Max(max0, hn::Load(d, scores + key));
      max1 = hn::Max(max1, hn::Load(d, scores + key + kLanes));
    }
    return hn::GetLane(hn::MaxOfLanes(d, hn::Max(max0, max1)));
  }

  static HWY_ATTR float exponentiate(float* scores, std::int64_t begin, std::int64_t end, float reference) {
    const FloatTag d;
    const FloatVec shift = hn::Set(d, reference);
    FloatVec sum0 = hn::Zero(d);
    FloatVec sum1 = hn::Zero(d);
    for (std::int64_t key = begin; key < end; key += 2 * kLanes) {
      const FloatVec p0 = exp_nonpositive(d, hn::Sub(hn::Load(d, scores + key), shift));
      const FloatVec p1 = exp_nonpositive(d, hn::Sub(hn::Load(d, scores + key + kLanes), shift));
      hn::Store(p0, d, scores + key);
      hn::Store(p1, d, scores + key + kLanes);
      sum0 = hn::Add(sum0, p0);
      sum1 = hn::Add(sum1, p1);
    }
    return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  }

#ifdef LONGROPE_BF16_PRODUCTS
  /// The probabilities of key k are left as bf16 at element k of the row's storage, which is behind what is still read.
  LONGROPE_BF16_PRODUCTS static float exponentiate_bf16(float* scores, std::int64_t begin, std::int64_t end,
                                                        float reference) {
    const FloatTag d;
    const FloatVec shift{_mm512_set1_ps(reference)};
    FloatVec sum0{_mm512_setzero_ps()};
    FloatVec sum1{_mm512_setzero_ps()};
    auto* out = reinterpret_cast<char*>(scores);
    for (std::int64_t key = begin; key < end; key += 2 * kPanel) {
      const FloatVec p0 = exp_nonpositive(d, FloatVec{_mm512_sub_ps(_mm512_load_ps(scores + key), shift.raw)});
      const FloatVec p1 = exp_nonpositive(d, FloatVec{_mm512_sub_ps(_mm512_load_ps(scores + key + kPanel), shift.raw)});
      const __m512bh rounded = _mm512_cvtne2ps_pbh(p1.raw, p0.raw);
      _mm512_store_si512(out + 2 * key, reinterpret_cast<__m512i>(rounded));
      sum0.raw = _mm512_add_ps(sum0.raw, p0.raw);
      sum1.raw = _mm512_add_ps(sum1.raw, p1.raw);
    }
    return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  }
#endif

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
