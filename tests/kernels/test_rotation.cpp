#include <limits>

#include "kernels/cpu/rotation_table.hpp"
#include "tests/kernels/fixtures.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::test;

namespace {

Doubles frequencies(std::int64_t rotary_dim, double theta = 10000.0, double divisor = 1.0) {
  Doubles result;
  for (std::int64_t i = 0; i < rotary_dim / 2; ++i) {
    result.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)) / divisor);
  }
  return result;
}

struct Case {
  AttentionShape shape;
  std::int64_t rows;
  std::int64_t first_position;
  std::int64_t start_tokens = 0;
  bool norms = false;
};

Doubles oracle_head(const Case& c, const RotationSpec& spec, const double* x, const Floats& norm, std::int64_t position,
                    float epsilon) {
  Doubles head(x, x + c.shape.head_dim);
  if (c.norms) head = oracle::rms_norm(x, Doubles(norm.begin(), norm.end()), static_cast<double>(epsilon));
  const Doubles& inv_freq = position < spec.start_tokens ? spec.leading_inv_freq : spec.inv_freq;
  return oracle::rotate(head, inv_freq, position, spec.attention_factor);
}

/// Checks q directly. K is read back through attention in check_keys.
void check_queries(const Backend& backend, const Case& c) {
  const AttentionShape& s = c.shape;
  CAPTURE(backend.activation_dtype(), s.heads, s.head_dim, s.rotary_dim, c.rows, c.first_position, c.norms);
  RotationSpec spec;
  spec.inv_freq = frequencies(s.rotary_dim, 10000.0, 7.3);
  spec.leading_inv_freq = frequencies(s.rotary_dim);
  spec.start_tokens = c.start_tokens;
  spec.attention_factor = 1.19;
  const std::int64_t tokens = c.first_position + c.rows;
  const auto table = backend.make_rotation_table(spec, tokens);
  const auto kv = backend.make_kv_buffer(s, tokens);
  const Floats qkv = random_floats(c.rows * s.qkv_cols());
  const Floats q_norm = random_floats(s.head_dim);
  const auto q_weights = backend.pack_vector(q_norm);
  const auto k_weights = backend.pack_vector(random_floats(s.head_dim));
  RotateQkvOptions options;
  options.shape = s;
  options.first_position = c.first_position;
  options.norm_epsilon = 1e-6F;
  if (c.norms) {
    options.q_norm = q_weights.get();
    options.k_norm = k_weights.get();
  }
  const Guarded x(backend, c.rows, s.qkv_cols(), DType::f32, qkv);
  const Guarded q(backend, c.rows, s.heads * s.head_dim, DType::f32);
  backend.rotate_qkv(options, x.matrix(), *table, q.matrix(), *kv);

  const bool bf16 = backend.activation_dtype() == DType::bf16;
  const Doubles xs(qkv.begin(), qkv.end());
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.head_dim));
  Comparison comparison;
  for (std::int64_t r = 0; r < c.rows; ++r) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      const Doubles expected = oracle_head(c, spec, &xs[oracle::at(r, s.qkv_cols(), h * s.head_dim)], q_norm,
                                           c.first_position + r, options.norm_epsilon);
      for (std::int64_t i = 0; i < s.head_dim; ++i) {
        const double e = expected[static_cast<std::size_t>(i)] * scale;
        const std::int64_t index = (r * s.heads + h) * s.head_dim + i;
        comparison.add(q[index], e, 3e-6 + (bf16 ? std::abs(e) * 0x1p-8 : 0.0), index);
        if (bf16) comparison.add(oracle::bf16(q[index]), q[index], 0.0, index);
      }
    }
  }
  CHECK(comparison.ok());
  CHECK(q.guards_intact());
}

/// With a window of 1 a query sees its own key only, so attention returns V; two candidates for a key tell K apart:
/// softmax over keys 0 and 1 gives p = 1/(1+exp(s0-s1)), whose logit is checked against the oracle's scores.
void check_keys(const Backend& backend, const Case& c) {
  const AttentionShape& s = c.shape;
  RotationSpec spec;
  spec.inv_freq = frequencies(s.rotary_dim, 10000.0, 3.0);
  spec.leading_inv_freq = frequencies(s.rotary_dim);
  spec.start_tokens = c.start_tokens;
  const std::int64_t tokens = c.first_position + 2;
  const auto table = backend.make_rotation_table(spec, tokens);
  const auto kv = backend.make_kv_buffer(s, tokens);
  Floats qkv = random_floats(2 * s.qkv_cols());
  const std::int64_t v_col = (s.heads + s.kv_heads) * s.head_dim;
  for (std::int64_t i = 0; i < s.kv_heads * s.head_dim; ++i) {
    qkv[oracle::at(0, s.qkv_cols(), v_col + i)] = 0.0F;
    qkv[oracle::at(1, s.qkv_cols(), v_col + i)] = 1.0F;
  }
  RotateQkvOptions options;
  options.shape = s;
  options.first_position = c.first_position;
  const Guarded x(backend, 2, s.qkv_cols(), DType::f32, qkv);
  const Guarded q(backend, 2, s.heads * s.head_dim, DType::f32);
  const Guarded out(backend, 2, s.heads * s.head_dim, backend.activation_dtype());
  backend.rotate_qkv(options, x.matrix(), *table, q.matrix(), *kv);
  backend.attention(s, q.matrix(), *kv, c.first_position, 2, out.matrix());
  const Doubles xs(qkv.begin(), qkv.end());
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.head_dim));
  for (std::int64_t h = 0; h < s.heads; ++h) {
    const std::int64_t kv_head = h / (s.heads / s.kv_heads);
    Doubles scores;
    const Doubles query =
        oracle_head(c, spec, &xs[oracle::at(1, s.qkv_cols(), h * s.head_dim)], {}, c.first_position + 1, 0.0F);
    for (std::int64_t r = 0; r < 2; ++r) {
      const Doubles key = oracle_head(c, spec, &xs[oracle::at(r, s.qkv_cols(), (s.heads + kv_head) * s.head_dim)], {},
                                      c.first_position + r, 0.0F);
      scores.push_back(oracle::dot(query.data(), key.data(), s.head_dim).value * scale);
    }
    const double p = 1.0 / (1.0 + std::exp(scores[0] - scores[1]));
    const double tolerance = backend.activation_dtype() == DType::bf16 ? 2e-2 : 5e-6;
    CAPTURE(h, s.head_dim, c.first_position);
    CHECK(close(out[(s.heads + h) * s.head_dim], p, tolerance));
  }
}

}  // namespace

TEST_CASE("q is rotated, normalised and scaled as in double precision", "[rotation]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t rows : {1, 31, 33, 257}) check_queries(*backend, {{4, 2, 64, 64}, rows, 0});
    for (const std::int64_t head_dim : {8, 80, 96, 128}) {
      check_queries(*backend, {{2, 1, head_dim, head_dim}, 33, 5});
      check_queries(*backend, {{2, 1, head_dim, head_dim / 4 * 2}, 33, 5});  // partial
      check_queries(*backend, {{2, 1, head_dim, head_dim}, 33, 5, 0, true});
    }
    check_queries(*backend, {{2, 2, 64, 64}, 40, 10, 27});
    check_queries(*backend, {{1, 1, 64, 64}, 3, (1 << 21) - 1});
  }
}

TEST_CASE("k is rotated as q is", "[rotation]") {
  for (const auto& backend : backends()) {
    check_keys(*backend, {{4, 2, 64, 64}, 2, 0});
    check_keys(*backend, {{4, 2, 80, 40}, 2, 1000});
    check_keys(*backend, {{2, 2, 96, 96}, 2, 15, 16});  // 15 has plain frequencies, 16 has scaled ones
    check_keys(*backend, {{3, 1, 128, 128}, 2, 1 << 21});
  }
}

TEST_CASE("the exact table is the float32 nearest to the true cosine, at position 2^21 too", "[rotation]") {
  RotationSpec spec;
  spec.inv_freq = frequencies(12, 500000.0, 1.7);
  spec.attention_factor = 1.25;
  const std::int64_t tokens = (1 << 21) + 1;
  const CpuRotationTable table(spec, tokens, Precision::f32);
  REQUIRE(table.tokens() == tokens);
  Comparison comparison;
  for (const std::int64_t position :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{255}, std::int64_t{256}, std::int64_t{131071}, tokens - 1}) {
    for (std::int64_t i = 0; i < table.pairs(); ++i) {
      // The contract's angle is the double product; its own rounding is at most 2^-53 * angle.
      const double angle = static_cast<double>(position) * spec.inv_freq[static_cast<std::size_t>(i)];
      const double cosine = static_cast<double>(std::cos(static_cast<long double>(angle))) * 1.25;
      const double sine = static_cast<double>(std::sin(static_cast<long double>(angle))) * 1.25;
      comparison.add(static_cast<double>(table.cosines(position)[i]), cosine, 0.5001 * 0x1p-23, position);
      comparison.add(static_cast<double>(table.sines(position)[i]), sine, 0.5001 * 0x1p-23, position);
    }
  }
  CHECK(comparison.ok());
}

TEST_CASE("hf precision forms the angle in float32", "[rotation]") {
  RotationSpec spec;
  spec.inv_freq = frequencies(64);
  spec.precision = RotationPrecision::hf;
  spec.attention_factor = 1.5;
  const std::int64_t tokens = 100001;
  const CpuRotationTable table(spec, tokens, Precision::f32);
  const CpuRotationTable rounded(spec, tokens, Precision::bf16);
  Comparison comparison;
  for (const std::int64_t position : {std::int64_t{3}, std::int64_t{777}, tokens - 1}) {
    for (std::int64_t i = 0; i < 32; ++i) {
      const float angle = static_cast<float>(position) * static_cast<float>(spec.inv_freq[static_cast<std::size_t>(i)]);
      const double cosine = std::cos(static_cast<double>(angle)) * 1.5;
      comparison.add(static_cast<double>(table.cosines(position)[i]), cosine, 3 * 0x1p-24, position);
      const auto bf16 = static_cast<double>(rounded.cosines(position)[i]);
      comparison.add(bf16, oracle::bf16(bf16), 0.0, position);
      comparison.add(bf16, cosine, 0x1p-8 * std::abs(cosine) + 1e-6, position);
    }
  }
  CHECK(comparison.ok());
}

TEST_CASE("rotation refuses what is not finite or does not fit", "[rotation][errors]") {
  const auto backend = make_cpu_backend(Precision::f32);
  RotationSpec spec;
  spec.inv_freq = {1.0, std::numeric_limits<double>::quiet_NaN()};
  CHECK_THROWS_AS(backend->make_rotation_table(spec, 4), longrope::InputError);
  spec.inv_freq = {1.0, std::numeric_limits<double>::infinity()};
  CHECK_THROWS_AS(backend->make_rotation_table(spec, 4), longrope::InputError);
  spec.inv_freq = {1.0, 0.1};
  spec.start_tokens = 1;
  CHECK_THROWS_AS(backend->make_rotation_table(spec, 4), longrope::InputError);
  spec.leading_inv_freq = {1.0, 0.1};
  spec.attention_factor = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(backend->make_rotation_table(spec, 4), longrope::InputError);
  spec.attention_factor = 1.0;
  const auto table = backend->make_rotation_table(spec, 4);
  CHECK(table->tokens() == 4);
  RotateQkvOptions options;
  options.shape = {1, 1, 8, 8};  // the table has 2 pairs, not 4
  const auto kv = backend->make_kv_buffer(options.shape, 4);
  const Guarded qkv(*backend, 2, 24, DType::f32);
  const Guarded q(*backend, 2, 8, DType::f32);
  CHECK_THROWS_AS(backend->rotate_qkv(options, qkv.matrix(), *table, q.matrix(), *kv), longrope::InputError);
  options.shape.rotary_dim = 4;
  options.first_position = 3;
  CHECK_THROWS_AS(backend->rotate_qkv(options, qkv.matrix(), *table, q.matrix(), *kv), longrope::InputError);
}
