#include "fma_peak.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace longrope::bench {
namespace {

#if defined(__x86_64__)

constexpr int kChains = 16;  // independent sums: more than latency times instructions per cycle
constexpr std::int64_t kSteps = 2'000'000;

// The sums must be seen to be used, or the compiler drops the loops.
volatile float sink = 0.0F;

__attribute__((target("avx512f"))) void f32_512() {
  __m512 sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_set1_ps(static_cast<float>(c));
  const __m512 a = _mm512_set1_ps(0.999F);
  const __m512 b = _mm512_set1_ps(0.001F);
  for (std::int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_fmadd_ps(sums[c], a, b);
  }
  float total = 0.0F;
  for (const __m512& sum : sums) total += _mm512_cvtss_f32(sum);
  sink = total;
}

__attribute__((target("avx2,fma"))) void f32_256() {
  __m256 sums[kChains - 4];
  for (int c = 0; c < kChains - 4; ++c) sums[c] = _mm256_set1_ps(static_cast<float>(c));
  const __m256 a = _mm256_set1_ps(0.999F);
  const __m256 b = _mm256_set1_ps(0.001F);
  for (std::int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains - 4; ++c) sums[c] = _mm256_fmadd_ps(sums[c], a, b);
  }
  float total = 0.0F;
  for (const __m256& sum : sums) total += _mm256_cvtss_f32(sum);
  sink = total;
}

__attribute__((target("avx512f,avx512bf16"))) void bf16_512() {
  __m512 sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_set1_ps(static_cast<float>(c));
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5F), _mm512_set1_ps(0.25F));
  const __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.001F), _mm512_set1_ps(0.002F));
  for (std::int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_dpbf16_ps(sums[c], a, b);
  }
  float total = 0.0F;
  for (const __m512& sum : sums) total += _mm512_cvtss_f32(sum);
  sink = total;
}

/// The best of several runs: what the core reaches where nothing disturbs it.
double rate(void (*run)(), double flops) {
  double best_s = 1e300;
  for (int repeat = 0; repeat < 12; ++repeat) {
    const auto started = std::chrono::steady_clock::now();
    run();
    best_s = std::min(best_s, std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }
  return flops / best_s;
}

constexpr double kStepsAsDouble = static_cast<double>(kSteps);

#endif

}  // namespace

Peak measure_f32_peak(bool avx2) {
#if defined(__x86_64__)
  if (!avx2 && __builtin_cpu_supports("avx512f"))
    return {rate(f32_512, kStepsAsDouble * kChains * 16 * 2), "AVX-512 fmadd"};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {rate(f32_256, kStepsAsDouble * (kChains - 4) * 8 * 2), "AVX2 fmadd"};
  }
#endif
  static_cast<void>(avx2);
  return {};
}

Peak measure_bf16_peak() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) return {rate(bf16_512, kStepsAsDouble * kChains * 32 * 2), "vdpbf16ps"};
#endif
  return {};
}

}  // namespace longrope::bench
