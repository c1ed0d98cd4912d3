#include <limits>

#include "tests/kernels/fixtures.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::test;

TEST_CASE("rms_norm matches double precision", "[elementwise]") {
  for (const auto& backend : backends()) {
    const DType dtype = backend->activation_dtype();
    for (const std::int64_t rows : {1, 31, 33, 257}) {
      for (const std::int64_t n : {1, 7, 64, 80, 288, 1031}) {
        CAPTURE(dtype, rows, n);
        const Floats x = random_floats(rows * n, 3.0);
        const Floats weight = random_floats(n);
        const Guarded input(*backend, rows, n, DType::f32, x);
        const Guarded y(*backend, rows, n, dtype);
        backend->rms_norm(input.matrix(), *backend->pack_vector(weight), 1e-5F, y.matrix());
        const Doubles xs(x.begin(), x.end());
        const Doubles ws(weight.begin(), weight.end());
        Comparison comparison;
        for (std::int64_t r = 0; r < rows; ++r) {
          const Doubles expected = oracle::rms_norm(&xs[oracle::at(r, n, 0)], ws, static_cast<double>(1e-5F));
          for (std::int64_t i = 0; i < n; ++i) {
            const double e = expected[static_cast<std::size_t>(i)];
            comparison.add(y[r * n + i], e, std::abs(e) * (rounding(dtype) + 3e-7) + 1e-30, r * n + i);
          }
        }
        CHECK(comparison.ok());
        CHECK(y.guards_intact());
      }
    }
  }
}

TEST_CASE("gated_silu matches double precision", "[elementwise]") {
  for (const auto& backend : backends()) {
    const DType dtype = backend->activation_dtype();
    for (const std::int64_t rows : {1, 33, 257}) {
      for (const std::int64_t n : {1, 7, 80, 257}) {
        CAPTURE(dtype, rows, n);
        const Floats x = random_floats(rows * 2 * n, 10.0);
        const Guarded input(*backend, rows, 2 * n, DType::f32, x);
        const Guarded y(*backend, rows, n, dtype);
        backend->gated_silu(input.matrix(), y.matrix());
        Comparison comparison;
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t i = 0; i < n; ++i) {
            const auto gate = static_cast<double>(x[oracle::at(r, 2 * n, i)]);
            const double e = gate / (1.0 + std::exp(-gate)) * static_cast<double>(x[oracle::at(r, 2 * n, n + i)]);
            comparison.add(y[r * n + i], e, std::abs(e) * (rounding(dtype) + 5e-7) + 1e-30, r * n + i);
          }
        }
        CHECK(comparison.ok());
        CHECK(y.guards_intact());
      }
    }
  }
}

TEST_CASE("gated_silu of extreme gates", "[elementwise]") {
  const auto backend = make_cpu_backend(Precision::f32);
  const float infinity = std::numeric_limits<float>::infinity();
  const Guarded x(*backend, 1, 10, DType::f32, {200.0F, -200.0F, 0.0F, infinity, std::nanf(""), 1, 1, 1, 1, 1});
  const Guarded y(*backend, 1, 5, DType::f32);
  backend->gated_silu(x.matrix(), y.matrix());
  CHECK(y[0] == 200.0);
  CHECK(std::abs(y[1]) < 1e-30);
  CHECK(y[2] == 0.0);
  CHECK(y[3] == std::numeric_limits<double>::infinity());
  CHECK(std::isnan(y[4]));
}

TEST_CASE("embed copies rows of every element type", "[elementwise]") {
  for (const auto& backend : backends()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const std::int64_t vocabulary = 1031;
      const std::int64_t hidden = 40;
      const Guarded weight(*backend, vocabulary, hidden, dtype, random_floats(vocabulary * hidden));
      const auto table = backend->pack_embedding(weight.matrix());
      CHECK(table->vocabulary() == vocabulary);
      auto ids = random_ids(257, vocabulary);
      ids.front() = 0;
      ids.back() = static_cast<std::int32_t>(vocabulary - 1);
      const Guarded out(*backend, 257, hidden, DType::f32);
      backend->embed(*table, ids, out.matrix());
      Comparison comparison;
      for (std::int64_t t = 0; t < 257; ++t) {
        for (std::int64_t i = 0; i < hidden; ++i) {
          comparison.add(out[t * hidden + i], weight[ids[static_cast<std::size_t>(t)] * hidden + i], 0.0, t);
        }
      }
      CHECK(comparison.ok());
      CHECK(out.guards_intact());
      ids[5] = static_cast<std::int32_t>(vocabulary);
      CHECK_THROWS_AS(backend->embed(*table, ids, out.matrix()), longrope::InputError);
      ids[5] = -1;
      CHECK_THROWS_AS(backend->embed(*table, ids, out.matrix()), longrope::InputError);
    }
  }
}

TEST_CASE("allocate gives aligned memory or says there is not enough", "[elementwise][errors]") {
  const auto backend = make_cpu_backend(Precision::f32);
  for (const std::int64_t bytes : {0, 1, 63, 64, 1000}) {
    CHECK(reinterpret_cast<std::uintptr_t>(backend->allocate(bytes).get()) % 64 == 0);
  }
  CHECK_THROWS_AS(backend->allocate(std::numeric_limits<std::int64_t>::max()), longrope::RuntimeError);
  CHECK_THROWS_AS(backend->allocate(-1), longrope::InputError);
}
