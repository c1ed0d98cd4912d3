#include "kernels/cpu/attention_block.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/convert.hpp"
#include "kernels/cpu/kv_buffer.hpp"
#include "kernels/cpu/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_block.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd_exp-inl.hpp"

#ifndef LONGROPE_ATTENTION_LAYOUT
#define LONGROPE_ATTENTION_LAYOUT
namespace longrope::kernels {

inline constexpr std::int64_t kRowGroup = 8;  // rows whose products share loads of K and V

/// Scratch of one work item, in floats.
struct AttentionScratch {
  float* queries;     // [kQueryBlock/8][head_dim][8]
  float* scores;      // [kQueryBlock][kKeyBlock], then probabilities
  float* output;      // [kQueryBlock][value_cols], not yet divided by `sum`
  float* keys;        // bf16 only: the key block as float32
  float* values;      // bf16 only: the value block as float32, panels kKeyBlock * kPanel apart
  float* max;         // [kQueryBlock] running maximum
  float* sum;         // [kQueryBlock] running sum of exp(score - max)
  float* correction;  // [kQueryBlock] exp(old max - new max)

  static std::int64_t floats(std::int64_t head_dim) {
    const std::int64_t cols = round_up(head_dim, kPanel);
    return kQueryBlock * (2 * cols + kKeyBlock + 3) + 2 * kKeyBlock * cols;
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
    scores = take(kQueryBlock * kKeyBlock);
    output = take(kQueryBlock * cols);
    keys = take(kKeyBlock * cols);
    values = take(kKeyBlock * cols);
    max = take(kQueryBlock);
    sum = take(kQueryBlock);
    correction = take(kQueryBlock);
  }
};

}  // namespace longrope::kernels
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
/// registers.
template <int kVectors, std::int64_t kStep, std::int64_t kRow>
HWY_INLINE void accumulate(const float* HWY_RESTRICT a, const float* const* b, std::int64_t count,
                           FloatVec (&acc)[kTileRows][kVectors]) {
  const FloatTag d;
  const float* HWY_RESTRICT b0 = b[0];
  const float* HWY_RESTRICT b1 = b[kVectors - 1];
  for (std::int64_t t = 0; t < count; ++t) {
    const FloatVec v0 = hn::Load(d, b0);
    const FloatVec v1 = hn::Load(d, b1);
    b0 += kPanel;
    b1 += kPanel;
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
      const FloatVec s = hn::Set(d, a[r * kRow]);
      acc[r][0] = hn::MulAdd(s, v0, acc[r][0]);
      if constexpr (kVectors > 1) acc[r][1] = hn::MulAdd(s, v1, acc[r][1]);
    }
    a += kStep;
  }
}

/// Address of lane `lane` (a multiple of kLanes) of 16-wide panels.
HWY_INLINE const float* panel_address(const float* panels, std::int64_t panel_stride, std::int64_t lane) {
  return panels + lane / kPanel * panel_stride + lane % kPanel;
}

/// The work item, key block by key block.
class BlockAttention {
 public:
  BlockAttention(const AttentionBlock& block, void* memory)
      : b_(block), s_(memory, block.head_dim), cols_(round_up(block.head_dim, kPanel)) {}

  HWY_ATTR void run() {
    pack_queries();
    const std::int64_t last = position(b_.rows - 1);
    const std::int64_t first = first_visible(0) / kKeyBlock * kKeyBlock;
    for (key0_ = first; key0_ <= last; key0_ += kKeyBlock) {
      keys_ = std::min(kKeyBlock, last + 1 - key0_);
      load_block();
      score();
      for (std::int64_t group = 0; group < groups(); ++group) softmax(group);
      add_values();
    }
    write_output();
  }

 private:
  std::int64_t groups() const { return (b_.rows + kRowGroup - 1) / kRowGroup; }
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
      float* out = s_.queries + row / kRowGroup * kRowGroup * b_.head_dim + row % kRowGroup;
      for (std::int64_t i = 0; i < b_.head_dim; ++i) {
        out[i * kRowGroup] = row < b_.rows ? b_.q[row * b_.q_stride + i] : 0.0F;
      }
    }
    std::fill(s_.output, s_.output + packed_rows * cols_, 0.0F);
    std::fill(s_.max, s_.max + packed_rows, -std::numeric_limits<float>::infinity());
    std::fill(s_.sum, s_.sum + packed_rows, 0.0F);
  }

  /// Points key_panels_ and value_panels_ at float32 panels of the block.
  HWY_ATTR void load_block() {
    if (b_.kv_dtype == DType::f32) {
      key_panels_ = static_cast<const float*>(b_.keys) + key0_ * b_.head_dim;
      value_panels_ = static_cast<const float*>(b_.values) + key0_ * kPanel;
      value_panel_stride_ = b_.value_panel_stride;
      return;
    }
    const auto* keys = static_cast<const std::uint16_t*>(b_.keys) + key0_ * b_.head_dim;
    promote(keys, round_up(keys_, kKeyTile) * b_.head_dim, s_.keys);
    const auto* values = static_cast<const std::uint16_t*>(b_.values) + key0_ * kPanel;
    for (std::int64_t panel = 0; panel < cols_ / kPanel; ++panel) {
      promote(values + panel * b_.value_panel_stride, keys_ * kPanel, s_.values + panel * kKeyBlock * kPanel);
    }
    key_panels_ = s_.keys;
    value_panels_ = s_.values;
    value_panel_stride_ = kKeyBlock * kPanel;
  }

  static HWY_ATTR void promote(const std::uint16_t* in, std::int64_t count, float* out) {
    const FloatTag d;
    const hn::Rebind<std::uint16_t, FloatTag> d16;
    const hn::Rebind<std::uint32_t, FloatTag> d32;
    for (std::int64_t i = 0; i < count; i += kLanes) {  // count is a multiple of kPanel
      const auto wide = hn::PromoteTo(d32, hn::LoadU(d16, in + i));
      hn::Store(hn::BitCast(d, hn::ShiftLeft<16>(wide)), d, out + i);
    }
  }

  /// scores = Q K^T, by tiles of keys that stay in the first-level cache while all rows use them.
  HWY_ATTR void score() {
    for (std::int64_t tile = 0; tile < keys_; tile += kKeyTile) {
      for (std::int64_t group = 0; group < groups(); ++group) {
        const auto [begin, end] = visible(group);
        if (tile + kKeyTile <= begin || tile >= end) continue;
        for (std::int64_t key = tile; key < tile + kKeyTile; key += 2 * kLanes) {
          for (std::int64_t r = 0; r < kRowGroup; r += kTileRows) score_tile(group, r, key);
        }
      }
    }
  }

  HWY_ATTR void score_tile(std::int64_t group, std::int64_t row, std::int64_t key) {
    const FloatTag d;
    FloatVec acc[kTileRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) acc[r][0] = acc[r][1] = hn::Zero(d);
    const float* const panels[2] = {panel_address(key_panels_, kPanel * b_.head_dim, key),
                                    panel_address(key_panels_, kPanel * b_.head_dim, key + kLanes)};
    accumulate<2, kRowGroup, 1>(s_.queries + group * kRowGroup * b_.head_dim + row, panels, b_.head_dim, acc);
    float* out = s_.scores + (group * kRowGroup + row) * kKeyBlock + key;
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
      hn::Store(acc[r][0], d, out + r * kKeyBlock);
      hn::Store(acc[r][1], d, out + r * kKeyBlock + kLanes);
    }
  }

  /// Masks a group's scores, turns them into exp(score - new max), and updates max, sum and correction.
  HWY_ATTR void softmax(std::int64_t group) {
    const auto [group_begin, group_end] = visible(group);
    if (group_begin == group_end) return;
    const std::int64_t begin = group_begin / kKeyTile * kKeyTile;
    const std::int64_t end = round_up(group_end, kKeyTile);
    const std::int64_t row0 = group * kRowGroup;
    const float lowest = -std::numeric_limits<float>::infinity();
    float reference[kRowGroup];  // new max, or 0 while no key is visible: -inf - 0 stays -inf, -inf - -inf is NaN
    for (std::int64_t r = 0; r < kRowGroup; ++r) {
      float* scores = s_.scores + (row0 + r) * kKeyBlock;
      mask(scores, begin, end, row0 + r);
      const float old_max = s_.max[row0 + r];
      const float new_max = std::max(old_max, row_max(scores, begin, end));
      reference[r] = new_max == lowest ? 0.0F : new_max;
      s_.max[row0 + r] = new_max;
      s_.correction[row0 + r] = old_max - reference[r];
    }
    const hn::CappedTag<float, kRowGroup> d;
    for (std::int64_t r = 0; r < kRowGroup; r += static_cast<std::int64_t>(hn::Lanes(d))) {
      float* correction = s_.correction + row0 + r;
      hn::Store(exp_nonpositive(d, hn::Load(d, correction)), d, correction);
    }
    for (std::int64_t r = 0; r < kRowGroup; ++r) {
      const float sum = exponentiate(s_.scores + (row0 + r) * kKeyBlock, begin, end, reference[r]);
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

  /// output = output * correction + P V, by panels of columns that stay in the first-level cache.
  HWY_ATTR void add_values() {
    std::int64_t column = 0;
    for (; column + 2 * kLanes <= cols_; column += 2 * kLanes) add_value_columns<2>(column);
    for (; column < cols_; column += kLanes) add_value_columns<1>(column);
  }

  template <int kVectors>
  HWY_ATTR void add_value_columns(std::int64_t column) {
    const FloatTag d;
    for (std::int64_t row = 0; row < groups() * kRowGroup; row += kTileRows) {
      const auto [begin, end] = visible(row / kRowGroup);
      if (begin == end) continue;
      FloatVec acc[kTileRows][kVectors];
      float* out = s_.output + row * cols_ + column;
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        const FloatVec correction = hn::Set(d, s_.correction[row + r]);
        acc[r][0] = hn::Mul(hn::Load(d, out + r * cols_), correction);
        if constexpr (kVectors > 1) acc[r][1] = hn::Mul(hn::Load(d, out + r * cols_ + kLanes), correction);
      }
      const float* const panels[2] = {
          panel_address(value_panels_, value_panel_stride_, column) + begin * kPanel,
          panel_address(value_panels_, value_panel_stride_, column + (kVectors - 1) * kLanes) + begin * kPanel};
      accumulate<kVectors, 1, kKeyBlock>(s_.scores + row * kKeyBlock + begin, panels, end - begin, acc);
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        hn::Store(acc[r][0], d, out + r * cols_);
        if constexpr (kVectors > 1) hn::Store(acc[r][1], d, out + r * cols_ + kLanes);
      }
    }
  }

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
  std::int64_t key0_ = 0;  // first key of the block
  std::int64_t keys_ = 0;  // keys of the block that some row sees
  const float* key_panels_ = nullptr;
  const float* value_panels_ = nullptr;
  std::int64_t value_panel_stride_ = 0;
};

}  // namespace

HWY_ATTR void run_block(const AttentionBlock& block, void* scratch) { BlockAttention(block, scratch).run(); }

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
