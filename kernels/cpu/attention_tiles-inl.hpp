// The inner loops of attention: products of tiles with panels of K or V, and the softmax of a row of scores.
// Included once per Highway target.
#if defined(LONGROPE_ATTENTION_TILES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGROPE_ATTENTION_TILES_INL
#undef LONGROPE_ATTENTION_TILES_INL
#else
#define LONGROPE_ATTENTION_TILES_INL
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/kv_buffer.hpp"
#include "kernels/cpu/simd_exp-inl.hpp"

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

HWY_INLINE float row_max(const float* scores, std::int64_t begin, std::int64_t end) {
  const FloatTag d;
  FloatVec max0 = hn::Set(d, -std::numeric_limits<float>::infinity());
  FloatVec max1 = max0;
  for (std::int64_t key = begin; key < end; key += 2 * kLanes) {
    max0 = hn::Max(max0, hn::Load(d, scores + key));
    max1 = hn::Max(max1, hn::Load(d, scores + key + kLanes));
  }
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(max0, max1)));
}

HWY_INLINE float exponentiate(float* scores, std::int64_t begin, std::int64_t end, float reference) {
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
LONGROPE_BF16_PRODUCTS inline float exponentiate_bf16(float* scores, std::int64_t begin, std::int64_t end,
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

}  // namespace
}  // namespace longrope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
