// exp(x) for x <= 0 in float32, by Cephes' expf: x = n ln2 + r, |r| <= ln2/2, degree-5 polynomial, within 2 ulp.
// Unlike hwy/contrib/math it keeps NaN (a NaN logit must not become probability 0). Below -87 the result is 0.
// Included once per Highway target.
#if defined(LONGROPE_SIMD_EXP_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGROPE_SIMD_EXP_INL
#undef LONGROPE_SIMD_EXP_INL
#else
#define LONGROPE_SIMD_EXP_INL
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace longrope::kernels::HWY_NAMESPACE {

template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exp_nonpositive(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  const V magic = hn::Set(d, 12582912.0F);  // 1.5 * 2^23: the sum's low mantissa bits are the rounded integer
  const V shifted = hn::MulAdd(x, hn::Set(d, 1.44269504088896341F), magic);
  const V n = hn::Sub(shifted, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375F), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4F), r);
  V p = hn::MulAdd(hn::Set(d, 1.9875691500e-4F), r, hn::Set(d, 1.3981999507e-3F));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3F));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1F));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1F));
  const V one = hn::Set(d, 1.0F);
  p = hn::MulAdd(hn::MulAdd(p, r, one), r, one);
  // The exponent is added to p's: of `shifted` the shift leaves n.
  const auto result = hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.0F)), hn::BitCast(d, result));
}

}  // namespace longrope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
