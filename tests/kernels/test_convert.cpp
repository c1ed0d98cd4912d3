#include <cmath>
#include <limits>

#include "kernels/convert.hpp"
#include "kernels/cpu/row_kernels.hpp"
#include "tests/kernels/fixtures.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::test;

TEST_CASE("every float16 converts to the float32 of the same value", "[convert]") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const double sign = (bits & 0x8000U) != 0 ? -1.0 : 1.0;
    const int exponent = static_cast<int>((bits >> 10) & 31U);
    const int mantissa = static_cast<int>(bits & 1023U);
    const float value = float_from_f16(static_cast<std::uint16_t>(bits));
    if (exponent == 31) {
      if (mantissa == 0 ? !(std::isinf(value) && std::signbit(value) == (sign < 0)) : !std::isnan(value)) ++wrong;
      continue;
    }
    const double expected =
        sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
    if (static_cast<double>(value) != expected || std::signbit(value) != (sign < 0)) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("float32 rounds to the nearest bfloat16, ties to even", "[convert]") {
  Floats values = random_floats(20000, 100.0);
  for (const float tie : {1.0F + 0x1p-8F, 1.0F + 3 * 0x1p-8F, -1.0F - 0x1p-8F, 0.0F, -0.0F, 1.0F})
    values.push_back(tie);
  std::vector<std::uint16_t> row(values.size());
  round_row_to_bf16(values.data(), static_cast<std::int64_t>(values.size()), row.data());
  int wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (bf16_from_float(values[i]) != bf16_bits(values[i])) ++wrong;
    if (row[i] != bf16_bits(values[i])) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("bfloat16 keeps infinities and NaN, and overflow becomes infinite", "[convert]") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float signalling = std::bit_cast<float>(0x7F800001U);
  const Floats values(40, signalling);
  std::vector<std::uint16_t> row(values.size());
  round_row_to_bf16(values.data(), 40, row.data());
  for (const std::uint16_t bits : row) CHECK(std::isnan(float_from_bf16(bits)));
  CHECK(std::isnan(round_to_bf16(signalling)));
  CHECK(std::isnan(round_to_bf16(std::bit_cast<float>(0xFFFFFFFFU))));
  CHECK(round_to_bf16(infinity) == infinity);
  CHECK(round_to_bf16(-infinity) == -infinity);
  CHECK(round_to_bf16(std::numeric_limits<float>::max()) == infinity);
}
