#include <cstring>

#include "kernels/convert.hpp"
#include "kernels/cpu/gemm.hpp"
#include "tests/kernels/fixtures.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::test;

namespace {

struct Case {
  std::int64_t rows, in, out;
};

void check_linear(const Backend& backend, Case c, bool bias, bool accumulate) {
  CAPTURE(backend.activation_dtype(), c.rows, c.in, c.out, bias, accumulate);
  const DType dtype = backend.activation_dtype();
  const Floats w = random_floats(c.out * c.in);
  const Floats x = random_floats(c.rows * c.in);
  const Floats b = bias ? random_floats(c.out) : Floats{};
  const Floats before = random_floats(c.rows * c.out);
  const auto linear = backend.pack_linear({w.data(), DType::f32, c.out, c.in}, b);
  CHECK(linear->in_features() == c.in);
  CHECK(linear->out_features() == c.out);
  const Guarded input(backend, c.rows, c.in, dtype, x);
  const Guarded y =
      accumulate ? Guarded(backend, c.rows, c.out, DType::f32, before) : Guarded(backend, c.rows, c.out, DType::f32);
  backend.linear(*linear, input.matrix(), y.matrix(), accumulate);

  const Doubles xs = seen(x, dtype);
  const Doubles ws = seen(w, dtype);
  Comparison comparison;
  for (std::int64_t r = 0; r < c.rows; ++r) {
    for (std::int64_t o = 0; o < c.out; ++o) {
      const auto dot = oracle::dot(&xs[oracle::at(r, c.in, 0)], &ws[oracle::at(o, c.in, 0)], c.in);
      const auto index = static_cast<std::size_t>(r * c.out + o);
      const double add = (bias ? static_cast<double>(b[static_cast<std::size_t>(o)]) : 0.0) +
                         (accumulate ? static_cast<double>(before[index]) : 0.0);
      comparison.add(y[static_cast<std::int64_t>(index)], dot.value + add,
                     1e-6 * (dot.magnitude + std::abs(add)) + 1e-9, static_cast<std::int64_t>(index));
    }
  }
  CHECK(comparison.ok());
  CHECK(y.guards_intact());
}

}  // namespace

TEST_CASE("linear matches a double-precision product", "[linear]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t rows : {1, 2, 31, 33, 255, 256, 257}) {
      check_linear(*backend, {rows, 64, 96}, false, false);
    }
    for (const Case c : {Case{33, 1, 1}, Case{1, 7, 5}, Case{31, 80, 33}, Case{257, 129, 17}, Case{33, 1031, 257}}) {
      for (const bool bias : {false, true}) {
        for (const bool accumulate : {false, true}) check_linear(*backend, c, bias, accumulate);
      }
    }
    check_linear(*backend, {600, 288, 864}, true, true);
  }
}

TEST_CASE("linear of no rows does nothing", "[linear]") {
  const auto backend = make_cpu_backend(Precision::f32);
  const Floats w = random_floats(6);
  const auto linear = backend->pack_linear({w.data(), DType::f32, 2, 3}, {});
  const Guarded y(*backend, 0, 2, DType::f32);
  backend->linear(*linear, {nullptr, DType::f32, 0, 3}, y.matrix(), false);
  CHECK(y.guards_intact());
}

TEST_CASE("a row's bits do not depend on the rows around it", "[linear][determinism]") {
  for (const auto& backend : backends()) {
    const DType dtype = backend->activation_dtype();
    const std::int64_t rows = 300;
    for (const std::int64_t in : {96, 768, 1031}) {
      const std::int64_t out = 200;
      const Floats w = random_floats(out * in);
      const auto linear = backend->pack_linear({w.data(), DType::f32, out, in}, {});
      const Guarded x(*backend, rows, in, dtype, random_floats(rows * in));
      const Guarded whole(*backend, rows, out, DType::f32);
      backend->linear(*linear, x.matrix(), whole.matrix(), false);
      for (const std::int64_t chunk : {1, 7, 33, 64, 128}) {
        const Guarded parts(*backend, rows, out, DType::f32);
        for (std::int64_t first = 0; first < rows; first += chunk) {
          const std::int64_t count = std::min(chunk, rows - first);
          backend->linear(*linear, x.matrix().row_range(first, count), parts.matrix().row_range(first, count), false);
        }
        CAPTURE(dtype, in, chunk);
        CHECK((parts.bits() == whole.bits()));
      }
    }
  }
}

TEST_CASE("few rows have the bits they have in a full block", "[linear][determinism]") {
  struct Shape {
    std::int64_t in, out;
  };
  for (const auto& backend : backends()) {
    const DType dtype = backend->activation_dtype();
    // One column, less than a slice, several slices, and a narrower last one.
    for (const Shape s : {Shape{64, 1}, Shape{1, 65}, Shape{640, 192}, Shape{1500, 321}, Shape{3000, 130}}) {
      const Floats w = random_floats(s.out * s.in);
      const Floats before = random_floats(256 * s.out);
      const Guarded x(*backend, 256, s.in, dtype, random_floats(256 * s.in));
      for (const bool bias : {false, true}) {
        const auto linear =
            backend->pack_linear({w.data(), DType::f32, s.out, s.in}, bias ? random_floats(s.out) : Floats{});
        for (const bool accumulate : {false, true}) {
          const Guarded whole(*backend, 256, s.out, DType::f32, before);
          backend->linear(*linear, x.matrix(), whole.matrix(), accumulate);
          for (const std::int64_t rows : {1, 2, 3, 5, 8, 13, 31, 32, 33, 100, 128, 129}) {
            CAPTURE(dtype, s.in, s.out, bias, accumulate, rows);
            for (const std::int64_t first : {std::int64_t{0}, 256 - rows}) {
              const Guarded y(*backend, rows, s.out, DType::f32);
              std::memcpy(y.matrix().data, before.data() + first * s.out, static_cast<std::size_t>(rows * s.out * 4));
              backend->linear(*linear, x.matrix().row_range(first, rows), y.matrix(), accumulate);
              CHECK(std::memcmp(y.matrix().data, whole.matrix().row_range(first, rows).data,
                                static_cast<std::size_t>(rows * s.out * 4)) == 0);
              CHECK(y.guards_intact());
            }
          }
        }
      }
    }
  }
}

TEST_CASE("few rows are not padded to a full block where that is known to be right", "[linear]") {
  if (!processor_has_bf16_products()) {
    WARN("skipped: which products keep their bits is known of AVX-512 only");
    return;
  }
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    const Gemm gemm(640, 1280, precision, false);
    const Floats w = random_floats(640 * 1280);
    const auto packed = gemm.pack({w.data(), DType::f32, 1280, 640});
    for (const std::int64_t rows : {1, 2, 7, 32, 128}) CHECK(gemm.takes_few(packed.get(), nullptr, rows));
    CHECK_FALSE(gemm.takes_few(packed.get(), nullptr, 129));
    // Weights that any order of sums agrees on prove nothing.
    const Gemm other(64, 64, precision, false);
    const Floats zeros(64 * 64, 0.0F);
    CHECK_FALSE(other.takes_few(other.pack({zeros.data(), DType::f32, 64, 64}).get(), nullptr, 1));
  }
}

TEST_CASE("weights of every element type are packed", "[linear]") {
  const auto backend = make_cpu_backend(Precision::f32);
  const std::int64_t in = 40;
  const std::int64_t out = 24;
  std::vector<std::uint16_t> halves;
  for (std::int64_t i = 0; i < in * out; ++i) halves.push_back(static_cast<std::uint16_t>(0x3000 + 7 * i % 0x1000));
  const Guarded x(*backend, 3, in, DType::f32, random_floats(3 * in));
  for (const DType dtype : {DType::f16, DType::bf16}) {
    Floats w;
    for (const std::uint16_t h : halves) w.push_back(dtype == DType::f16 ? float_from_f16(h) : float_from_bf16(h));
    const auto from_halves = backend->pack_linear({halves.data(), dtype, out, in}, {});
    const auto from_floats = backend->pack_linear({w.data(), DType::f32, out, in}, {});
    const Guarded a(*backend, 3, out, DType::f32);
    const Guarded b(*backend, 3, out, DType::f32);
    backend->linear(*from_halves, x.matrix(), a.matrix(), false);
    backend->linear(*from_floats, x.matrix(), b.matrix(), false);
    CHECK((a.bits() == b.bits()));
  }
}

TEST_CASE("linear refuses what does not fit", "[linear][errors]") {
  const auto backend = make_cpu_backend(Precision::f32);
  const Floats w = random_floats(12);
  const Floats bias = random_floats(2);
  CHECK_THROWS_AS(backend->pack_linear({w.data(), DType::f32, 3, 4}, bias), longrope::InputError);
  CHECK_THROWS_AS(backend->pack_linear({w.data(), DType::f32, 0, 4}, {}), longrope::InputError);
  const auto linear = backend->pack_linear({w.data(), DType::f32, 3, 4}, {});
  const Guarded x(*backend, 2, 5, DType::f32);
  const Guarded y(*backend, 2, 3, DType::f32);
  CHECK_THROWS_AS(backend->linear(*linear, x.matrix(), y.matrix(), false), longrope::InputError);
  const Guarded narrow(*backend, 2, 4, DType::bf16);
  CHECK_THROWS_AS(backend->linear(*linear, narrow.matrix(), y.matrix(), false), longrope::InputError);
}
