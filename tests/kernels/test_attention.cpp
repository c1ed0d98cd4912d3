// The SIMD targets are switched here, so this file alone knows Highway.
#include <hwy/targets.h>

#include "tests/kernels/fixtures.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::test;

namespace {

struct Case {
  AttentionShape shape;
  std::int64_t tokens;
  std::int64_t chunk;   // queries per call; first_position > 0 after the first
  std::int64_t window;  // 0: none
};

AttentionShape plain_shape(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim) {
  return {heads, kv_heads, head_dim, 0};
}

/// Projections without rotation -> rotate_qkv and attention, chunk by chunk; returns the attention output.
Guarded run(const Backend& backend, const Case& c, const Floats& qkv) {
  const AttentionShape& s = c.shape;
  const auto table = backend.make_rotation_table({}, c.tokens);
  const auto kv = backend.make_kv_buffer(s, c.tokens);
  const Guarded projections(backend, c.tokens, s.qkv_cols(), DType::f32, qkv);
  const Guarded q(backend, c.tokens, s.heads * s.head_dim, DType::f32);
  Guarded out(backend, c.tokens, s.heads * s.head_dim, backend.activation_dtype());
  for (std::int64_t first = 0; first < c.tokens; first += c.chunk) {
    const std::int64_t count = std::min(c.chunk, c.tokens - first);
    RotateQkvOptions options;
    options.shape = s;
    options.first_position = first;
    const Matrix chunk_q = q.matrix().row_range(first, count);
    backend.rotate_qkv(options, projections.matrix().row_range(first, count), *table, chunk_q, *kv);
    backend.attention(s, chunk_q, *kv, first, c.window, out.matrix().row_range(first, count));
  }
  CHECK(q.guards_intact());
  CHECK(out.guards_intact());
  return out;
}

void check_attention(const Backend& backend, const Case& c) {
  const AttentionShape& s = c.shape;
  CAPTURE(backend.activation_dtype(), s.heads, s.kv_heads, s.head_dim, c.tokens, c.chunk, c.window);
  const Floats qkv = random_floats(c.tokens * s.qkv_cols(), 2.0);
  const Guarded out = run(backend, c, qkv);
  const Doubles x = seen(qkv, backend.activation_dtype());
  const bool bf16 = backend.activation_dtype() == DType::bf16;
  Doubles magnitudes;
  for (const double value : x) magnitudes.push_back(std::abs(value));
  const float scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  Comparison comparison;
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      Doubles q;
      for (std::int64_t i = 0; i < s.head_dim; ++i) {
        const float value = qkv[oracle::at(t, s.qkv_cols(), h * s.head_dim + i)];
        q.push_back(bf16 ? oracle::bf16(static_cast<double>(value * scale)) : static_cast<double>(value) * scale);
      }
      const std::int64_t kv_head = h / (s.heads / s.kv_heads);
      const double* k = &x[oracle::at(0, s.qkv_cols(), (s.heads + kv_head) * s.head_dim)];
      const double* v = k + s.kv_heads * s.head_dim;
      const Doubles expected = oracle::attend(q.data(), k, v, s.qkv_cols(), s.head_dim, t, c.window);
      // Under bf16 each probability is rounded by at most 2^-8 of itself.
      const Doubles weighed = bf16 ? oracle::attend(q.data(), k, &magnitudes[static_cast<std::size_t>(v - x.data())],
                                                    s.qkv_cols(), s.head_dim, t, c.window)
                                   : Doubles(expected.size(), 0.0);
      for (std::int64_t i = 0; i < s.head_dim; ++i) {
        const double e = expected[static_cast<std::size_t>(i)];
        const std::int64_t index = (t * s.heads + h) * s.head_dim + i;
        comparison.add(
            out[index], e,
            3e-5 + std::abs(e) * rounding(backend.activation_dtype()) + weighed[static_cast<std::size_t>(i)] * 0x1p-8,
            index);
      }
    }
  }
  CHECK(comparison.ok());
}

/// Runs body once for every instruction set of this machine.
template <class Body>
void for_each_target(const Body& body) {
  const std::int64_t supported = hwy::SupportedTargets();
  for (std::int64_t remaining = supported; remaining != 0; remaining &= remaining - 1) {
    const std::int64_t target = remaining & -remaining;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    INFO("SIMD target " << hwy::TargetName(target));
    body(target);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace

TEST_CASE("attention matches double precision at every head size", "[attention]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t head_dim : {1, 8, 33, 64, 80, 96, 128, 256}) {
      check_attention(*backend, {plain_shape(2, 1, head_dim), 131, 131, 0});
    }
  }
}

TEST_CASE("attention matches double precision at awkward lengths", "[attention]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t tokens : {1, 31, 32, 33, 64, 65, 257, 600}) {
      check_attention(*backend, {plain_shape(1, 1, 16), tokens, tokens, 0});
    }
  }
}

TEST_CASE("grouped queries read their own head", "[attention]") {
  for (const auto& backend : backends()) {
    check_attention(*backend, {plain_shape(8, 8, 16), 70, 70, 0});
    check_attention(*backend, {plain_shape(8, 2, 16), 70, 70, 0});
    check_attention(*backend, {plain_shape(6, 1, 24), 70, 70, 0});
    check_attention(*backend, {plain_shape(9, 3, 8), 70, 70, 0});
  }
}

TEST_CASE("attention over chunks that start late", "[attention]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t chunk : {1, 7, 64, 100, 300}) {
      check_attention(*backend, {plain_shape(2, 1, 32), 333, chunk, 0});
    }
  }
}

TEST_CASE("sliding windows see exactly their keys", "[attention]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t window : {1, 7, 31, 64, 300, 511, 700, 100000}) {
      check_attention(*backend, {plain_shape(1, 1, 16), 700, 700, window});
    }
    check_attention(*backend, {plain_shape(2, 2, 80), 700, 90, 300});
  }
}

TEST_CASE("attention is right on every instruction set", "[attention][simd]") {
  for (const auto& backend : backends()) {
    for_each_target([&](std::int64_t target) {
      if (backend->precision() == Precision::bf16 && target != HWY_AVX3) {  // what it needs is a part of AVX-512 alone
        const Case c{plain_shape(1, 1, 16), 4, 4, 0};
        CHECK_THROWS_AS(run(*backend, c, random_floats(c.tokens * c.shape.qkv_cols())), longrope::RuntimeError);
        return;
      }
      for (const std::int64_t head_dim : {8, 64, 80, 96}) {
        check_attention(*backend, {plain_shape(2, 1, head_dim), 290, 290, 0});
      }
      check_attention(*backend, {plain_shape(1, 1, 40), 330, 77, 70});
      for (const std::int64_t window : {0, 70}) check_attention(*backend, {plain_shape(2, 1, 40), 330, 1, window});
    });
  }
}

TEST_CASE("large scores do not overflow", "[attention]") {
  const auto backend = make_cpu_backend(Precision::f32);
  const Case c{plain_shape(1, 1, 16), 300, 300, 0};
  const Guarded out = run(*backend, c, random_floats(c.tokens * c.shape.qkv_cols(), 200.0));
  Comparison comparison;
  for (std::int64_t i = 0; i < c.tokens * 16; ++i) comparison.add(out[i], 0.0, 2000.0, i);
  CHECK(comparison.ok());
}

TEST_CASE("a chunk's bits do not depend on how the window is cut", "[attention][determinism]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t window : {0, 100}) {
      Case c{plain_shape(2, 1, 48), 530, 530, window};
      const Floats qkv = random_floats(c.tokens * c.shape.qkv_cols());
      const auto whole = run(*backend, c, qkv).bits();
      for (const std::int64_t chunk : {1, 17, 64, 256, 300}) {
        CAPTURE(chunk, window);
        c.chunk = chunk;
        CHECK(run(*backend, c, qkv).bits() == whole);
      }
    }
  }
}

TEST_CASE("a key that is not a number reaches every query that sees it", "[attention]") {
  for (const auto& backend : backends()) {
    const Case c{plain_shape(1, 1, 16), 100, 100, 0};
    Floats qkv = random_floats(c.tokens * c.shape.qkv_cols());
    qkv[oracle::at(50, c.shape.qkv_cols(), 16)] = std::nanf("");
    const Guarded out = run(*backend, c, qkv);
    for (std::int64_t t = 0; t < 100; ++t) CHECK(std::isnan(out[t * 16]) == (t >= 50));
  }
}

TEST_CASE("what a buffer held before does not matter", "[attention]") {
  for (const auto& backend : backends()) {
    const AttentionShape s = plain_shape(1, 1, 16);
    const auto kv = backend->make_kv_buffer(s, 100);
    const auto table = backend->make_rotation_table({}, 100);
    RotateQkvOptions options;
    options.shape = s;
    const Guarded q(*backend, 100, 16, DType::f32);
    const Guarded poison(*backend, 100, 48, DType::f32);  // all NaN
    for (const std::int64_t tokens : {39, 40}) {
      backend->rotate_qkv(options, poison.matrix(), *table, q.matrix(), *kv);
      const Guarded x(*backend, tokens, 48, DType::f32, random_floats(tokens * 48));
      const Guarded out(*backend, tokens, 16, backend->activation_dtype());
      backend->rotate_qkv(options, x.matrix(), *table, q.matrix().row_range(0, tokens), *kv);
      backend->attention(s, q.matrix().row_range(0, tokens), *kv, 0, 0, out.matrix());
      for (const double value : out.doubles()) CHECK(std::isfinite(value));
    }
  }
}

TEST_CASE("attention refuses what does not fit", "[attention][errors]") {
  const auto backend = make_cpu_backend(Precision::f32);
  CHECK_THROWS_AS(backend->make_kv_buffer(plain_shape(3, 2, 16), 8), longrope::InputError);
  CHECK_THROWS_AS(backend->make_kv_buffer(plain_shape(2, 2, 0), 8), longrope::InputError);
  CHECK_THROWS_AS(backend->make_kv_buffer(plain_shape(2, 2, 257), 8), longrope::InputError);
  CHECK_THROWS_AS(backend->make_kv_buffer({2, 2, 16, 3}, 8), longrope::InputError);
  CHECK_THROWS_AS(backend->make_kv_buffer({2, 2, 16, 18}, 8), longrope::InputError);
  const AttentionShape s = plain_shape(1, 1, 16);
  const auto kv = backend->make_kv_buffer(s, 8);
  const Guarded q(*backend, 4, 16, DType::f32);
  const Guarded out(*backend, 4, 16, DType::f32);
  CHECK_THROWS_AS(backend->attention(s, q.matrix(), *kv, 5, 0, out.matrix()), longrope::InputError);
  CHECK_THROWS_AS(backend->attention(s, q.matrix(), *kv, 0, -1, out.matrix()), longrope::InputError);
}
