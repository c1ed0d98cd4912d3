// Products: bf16 with every output type, bias and accumulation, at aligned and awkward shapes; e4m3 with row scales.
#include "kernels/backend.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"

namespace longrope::kernels::check {
namespace {

struct Shape {
  std::int64_t rows, in, out;
};

enum class Mode { bf16, f32, accumulate };

/// y of one product, with y's old content where it is added to.
struct Product {
  std::vector<double> y;
  bool guards = false;
};
Product run(const Backend& backend, const Shape& s, Mode mode, const std::vector<float>& x,
            const std::vector<float>& weight, const std::vector<float>& bias, const std::vector<float>& before) {
  const auto bits = bf16_bits(weight);
  const auto linear = backend.pack_linear({bits.data(), DType::bf16, s.out, s.in}, bias);
  const DeviceData input(s.rows, s.in, DType::bf16, x);
  const DType y_dtype = mode == Mode::bf16 ? DType::bf16 : DType::f32;
  const DeviceData y =
      mode == Mode::accumulate ? DeviceData(s.rows, s.out, y_dtype, before) : DeviceData(s.rows, s.out, y_dtype);
  backend.linear(*linear, input.matrix(), y.matrix(), mode == Mode::accumulate);
  backend.finish();
  return {y.values(), y.guards_intact()};
}

constexpr double kBf16Tolerance = 4e-3;  // the output's own rounding

/// Outputs of one kind, rounded to bf16 or not.
void check_shape(const Backend& backend, const Shape& s, bool rounded, double tolerance, Result& result) {
  const auto x = random_values(s.rows * s.in);
  const auto weight = random_values(s.out * s.in, 1.0 / std::sqrt(static_cast<double>(s.in)));
  const auto bias = random_values(s.out);
  const auto before = random_values(s.rows * s.out, 1.0, false);
  const Doubles plain = product(doubles(x), doubles(weight), {}, s.rows, s.in, s.out);
  for (const Mode mode : {Mode::bf16, Mode::f32, Mode::accumulate}) {
    if ((mode == Mode::bf16) != rounded) continue;
    for (const bool with_bias : {false, true}) {
      const std::string what = std::to_string(s.rows) + " x " + std::to_string(s.in) + " x " + std::to_string(s.out) +
                               " mode " + std::to_string(static_cast<int>(mode)) + (with_bias ? " bias" : "");
      Doubles expected = plain;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (with_bias) expected[i] += static_cast<double>(bias[i % static_cast<std::size_t>(s.out)]);
        if (mode == Mode::accumulate) expected[i] += static_cast<double>(before[i]);
      }
      const Product y = run(backend, s, mode, x, weight, with_bias ? bias : std::vector<float>(), before);
      result.compare(y.y, expected, tolerance, what);
      result.expect(y.guards, what + " wrote beside its output");
    }
  }
}

/// Operands that e4m3 holds exactly once divided by their row's scale, which is a power of two: only a wrong scale,
/// row or column can show. Integers of up to 4 bits and one 448 a row, in a column where the other operand is 0.
void check_exact_fp8(const Backend& backend, const Shape& s, Result& result) {
  std::vector<float> x(static_cast<std::size_t>(s.rows * s.in));
  std::vector<float> weight(static_cast<std::size_t>(s.out * s.in));
  const auto fill = [&](std::vector<float>& values, std::int64_t rows, std::int64_t own, std::int64_t zero) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const float scale = std::ldexp(1.0F, static_cast<int>(r % 5) - 2);
      for (std::int64_t i = 0; i < s.in; ++i) {
        const auto integer = static_cast<float>(static_cast<int>(generator()() % 17U) - 8);
        values[at(r, s.in, i)] = scale * (i == own ? 448.0F : (i == zero ? 0.0F : integer));
      }
    }
  };
  fill(x, s.rows, 0, 1);
  fill(weight, s.out, 1, 0);
  const auto bias = random_values(s.out);
  const Doubles expected = product(doubles(x), doubles(weight), doubles(bias), s.rows, s.in, s.out);
  const Product y = run(backend, s, Mode::f32, x, weight, bias, {});
  result.compare(y.y, expected, 1e-3, "exact " + std::to_string(s.rows) + " x " + std::to_string(s.in));
  result.expect(y.guards, "fp8 wrote beside its output");
}

}  // namespace

void check_linear(Harness& harness) {
  const auto backend = make_cuda_backend(Precision::bf16);
  for (const bool rounded : {false, true}) {
    const std::string into = rounded ? " into bf16" : " into f32";
    const double tolerance = rounded ? kBf16Tolerance : 3e-5;
    harness.group("linear bf16, aligned," + into, [&](Result& r) {
      for (const std::int64_t rows : {1, 31, 33, 257}) {
        check_shape(*backend, {rows, 64, 96}, rounded, tolerance, r);
        check_shape(*backend, {rows, 1024, 256}, rounded, tolerance, r);
      }
      check_shape(*backend, {33, 4096, 512}, rounded, tolerance, r);
    });
    harness.group("linear bf16, awkward," + into, [&](Result& r) {
      for (const std::int64_t rows : {1, 31, 33, 257}) {
        check_shape(*backend, {rows, 100, 60}, rounded, tolerance, r);
        check_shape(*backend, {rows, 99, 33}, rounded, tolerance, r);
        check_shape(*backend, {rows, 7, 257}, rounded, tolerance, r);
      }
    });
  }
  std::unique_ptr<Backend> fp8;
  try {
    fp8 = make_cuda_backend(Precision::fp8);
  } catch (const std::exception& error) {
    harness.skip("linear fp8", error.what());
    return;
  }
  harness.group("linear fp8, scales exact", [&](Result& r) {
    for (const std::int64_t rows : {1, 31, 33, 257}) check_exact_fp8(*fp8, {rows, 256, 96}, r);
  });
  harness.group("linear fp8, rounded", [&](Result& r) {
    for (const bool rounded : {false, true}) {
      for (const std::int64_t rows : {1, 31, 33, 257}) check_shape(*fp8, {rows, 1024, 256}, rounded, 5e-2, r);
      check_shape(*fp8, {33, 4096, 512}, rounded, 5e-2, r);
    }
  });
  harness.group("linear fp8, odd sides stay bf16", [&](Result& r) {
    check_shape(*fp8, {33, 100, 60}, false, 3e-5, r);
    check_shape(*fp8, {33, 100, 60}, true, kBf16Tolerance, r);
  });
}

}  // namespace longrope::kernels::check
