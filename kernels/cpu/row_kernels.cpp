#include "kernels/cpu/row_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/convert.hpp"
#include "kernels/cpu/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd_exp-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longrope::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::CappedTag<float, 16>;
using FloatVec = hn::Vec<FloatTag>;
constexpr std::int64_t kLanes = hn::MaxLanes(FloatTag());

HWY_INLINE FloatVec load(const float* data, std::int64_t lanes, float padding) {
  const FloatTag d;
  if (lanes == kLanes) return hn::LoadU(d, data);
  HWY_ALIGN float values[kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i) values[i] = i < lanes ? data[i] : padding;
  return hn::Load(d, values);
}

HWY_INLINE void store(FloatVec vector, std::int64_t lanes, float* data) {
  const FloatTag d;
  if (lanes == kLanes) {
    hn::StoreU(vector, d, data);
    return;
  }
  HWY_ALIGN float values[kLanes];
  hn::Store(vector, d, values);
  for (std::int64_t i = 0; i < lanes; ++i) data[i] = values[i];
}

/// Adds float lanes to double lanes.
#if HWY_TARGET == HWY_SCALAR  // one lane: no halves to take
using DoubleTag = hn::Rebind<double, FloatTag>;
using DoubleVec = hn::Vec<DoubleTag>;
HWY_INLINE void add_wide(FloatVec x, DoubleVec& low, DoubleVec&) { low = hn::Add(low, hn::PromoteTo(DoubleTag(), x)); }
#else
using DoubleTag = hn::Repartition<double, FloatTag>;
using DoubleVec = hn::Vec<DoubleTag>;
HWY_INLINE void add_wide(FloatVec x, DoubleVec& low, DoubleVec& high) {
  const DoubleTag dd;
  const hn::Half<FloatTag> half;
  low = hn::Add(low, hn::PromoteTo(dd, hn::LowerHalf(half, x)));
  high = hn::Add(high, hn::PromoteTo(dd, hn::UpperHalf(half, x)));
}
#endif

HWY_INLINE double total(DoubleVec low, DoubleVec high) {
  const DoubleTag dd;
  return hn::GetLane(hn::SumOfLanes(dd, hn::Add(low, high)));
}

}  // namespace

HWY_ATTR void rms_norm_simd(const float* x, const float* weight, std::int64_t n, float epsilon, float* y) {
  DoubleVec low = hn::Zero(DoubleTag());
  DoubleVec high = low;
  std::int64_t i = 0;
  for (; i < n; i += kLanes) {
    const FloatVec v = load(x + i, std::min(kLanes, n - i), 0.0F);
    add_wide(hn::Mul(v, v), low, high);
  }
  const double mean = total(low, high) / static_cast<double>(n);
  const FloatVec inverse =
      hn::Set(FloatTag(), static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(epsilon))));
  for (i = 0; i < n; i += kLanes) {
    const std::int64_t lanes = std::min(kLanes, n - i);
    const FloatVec v = hn::Mul(load(x + i, lanes, 0.0F), inverse);
    store(hn::Mul(v, load(weight + i, lanes, 0.0F)), lanes, y + i);
  }
}

HWY_ATTR void gated_silu_simd(const float* gate, const float* up, std::int64_t n, float* y) {
  const FloatTag d;
  const FloatVec one = hn::Set(d, 1.0F);
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const std::int64_t lanes = std::min(kLanes, n - i);
    const FloatVec g = load(gate + i, lanes, 0.0F);
    // With e = exp(-|g|): 1/(1+exp(-g)) is 1/(1+e) for g >= 0 and e/(1+e) below.
    const FloatVec e = exp_nonpositive(d, hn::Neg(hn::Abs(g)));
    const FloatVec numerator = hn::IfThenElse(hn::Lt(g, hn::Zero(d)), e, one);
    const FloatVec silu = hn::Mul(g, hn::Div(numerator, hn::Add(one, e)));
    store(hn::Mul(silu, load(up + i, lanes, 0.0F)), lanes, y + i);
  }
}

HWY_ATTR void round_to_bf16_simd(const float* x, std::int64_t n, std::uint16_t* y) {
  const FloatTag d;
  const hn::Rebind<std::uint32_t, FloatTag> d32;
  const hn::Rebind<std::uint16_t, FloatTag> d16;
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const FloatVec value = hn::LoadU(d, x + i);
    const auto bits = hn::BitCast(d32, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7FFF)));
    const auto quiet = hn::Or(bits, hn::Set(d32, 0x400000));
    const auto is_number = hn::RebindMask(d32, hn::Eq(value, value));
    const auto upper = hn::ShiftRight<16>(hn::IfThenElse(is_number, rounded, quiet));
    hn::StoreU(hn::TruncateTo(d16, upper), d16, y + i);
  }
  for (; i < n; ++i) y[i] = bf16_from_float(x[i]);
}

HWY_ATTR LogitSum logit_sum_simd(const float* logits, std::int64_t n) {
  const FloatTag d;
  const float lowest = -std::numeric_limits<float>::infinity();
  FloatVec max0 = hn::Set(d, lowest);
  FloatVec max1 = max0;
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    max0 = hn::Max(max0, hn::LoadU(d, logits + i));
    max1 = hn::Max(max1, hn::LoadU(d, logits + i + kLanes));
  }
  for (; i < n; i += kLanes) max0 = hn::Max(max0, load(logits + i, std::min(kLanes, n - i), lowest));
  const float max = hn::GetLane(hn::MaxOfLanes(d, hn::Max(max0, max1)));

  const FloatVec shift = hn::Set(d, max);
  const FloatVec zero = hn::Zero(d);
  FloatVec poison = zero;  // 0 while all logits are finite, NaN after the first that is not
  DoubleVec low = hn::Zero(DoubleTag());
  DoubleVec high = low;
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const FloatVec x = hn::LoadU(d, logits + i);
    poison = hn::MulAdd(x, zero, poison);
    add_wide(exp_nonpositive(d, hn::Sub(x, shift)), low, high);
  }
  if (i < n) {
    const FloatVec x = load(logits + i, n - i, lowest);
    poison = hn::MulAdd(load(logits + i, n - i, 0.0F), zero, poison);
    add_wide(exp_nonpositive(d, hn::Sub(x, shift)), low, high);
  }
  return {max, total(low, high) + static_cast<double>(hn::GetLane(hn::SumOfLanes(d, poison)))};
}

HWY_ATTR LargestLogit largest_logit_simd(const float* logits, std::int64_t n) {
  const FloatTag d;
  const float lowest = -std::numeric_limits<float>::infinity();
  const FloatVec zero = hn::Zero(d);
  FloatVec max = hn::Set(d, lowest);
  FloatVec poison = zero;
  std::int64_t i = 0;
  for (; i < n; i += kLanes) {
    const std::int64_t lanes = std::min(kLanes, n - i);
    max = hn::Max(max, load(logits + i, lanes, lowest));
    poison = hn::MulAdd(load(logits + i, lanes, 0.0F), zero, poison);
  }
  const float largest = hn::GetLane(hn::MaxOfLanes(d, max));
  if (!(hn::GetLane(hn::SumOfLanes(d, poison)) == 0.0F)) return {largest, -1};
  return {largest, std::find(logits, logits + n, largest) - logits};
}

}  // namespace longrope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longrope::kernels {

HWY_EXPORT(rms_norm_simd);
HWY_EXPORT(gated_silu_simd);
HWY_EXPORT(round_to_bf16_simd);
HWY_EXPORT(logit_sum_simd);
HWY_EXPORT(largest_logit_simd);

void rms_norm_row(const float* x, const float* weight, std::int64_t n, float epsilon, float* y) {
  HWY_DYNAMIC_DISPATCH(rms_norm_simd)(x, weight, n, epsilon, y);
}

void gated_silu_row(const float* gate, const float* up, std::int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(gated_silu_simd)(gate, up, n, y);
}

void round_row_to_bf16(const float* x, std::int64_t n, std::uint16_t* y) {
  HWY_DYNAMIC_DISPATCH(round_to_bf16_simd)(x, n, y);
}

LogitSum logit_sum(const float* logits, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(logit_sum_simd)(logits, n); }

LargestLogit largest_logit(const float* logits, std::int64_t n) {
  return HWY_DYNAMIC_DISPATCH(largest_logit_simd)(logits, n);
}

}  // namespace longrope::kernels
#endif
