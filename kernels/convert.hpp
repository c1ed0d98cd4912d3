// Conversions between float32, float16 and bfloat16 (IEEE 754 bits in uint16_t), round to nearest, ties to even.
// Infinities stay infinite, NaN stays NaN.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/matrix.hpp"

namespace longrope::kernels {

inline float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline std::uint16_t bf16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);  // quiet NaN
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

/// The nearest bfloat16, as a float.
inline float round_to_bf16(float value) { return float_from_bf16(bf16_from_float(value)); }

inline float float_from_f16(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0x1FU) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // subnormal: exact in float32
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

/// Element `index` of `data`, which need not be aligned (weights lie in a file as they were written).
inline float load_float(const void* data, DType dtype, std::int64_t index) {
  const char* address = static_cast<const char*>(data) + index * bytes_of(dtype);
  if (dtype == DType::f32) {
    float value;
    std::memcpy(&value, address, sizeof(value));
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, address, sizeof(bits));
  return dtype == DType::bf16 ? float_from_bf16(bits) : float_from_f16(bits);
}

/// Elements [first, first + count) of `data` as float32.
inline void convert_to_float(const void* data, DType dtype, std::int64_t first, std::int64_t count, float* out) {
  const char* source = static_cast<const char*>(data) + first * bytes_of(dtype);
  switch (dtype) {
    case DType::f32:
      std::memcpy(out, source, static_cast<std::size_t>(count) * sizeof(float));
      break;
    case DType::bf16:
      for (std::int64_t i = 0; i < count; ++i) out[i] = load_float(source, DType::bf16, i);
      break;
    case DType::f16:
      for (std::int64_t i = 0; i < count; ++i) out[i] = load_float(source, DType::f16, i);
      break;
  }
}

/// Elements [first, first + count) of `data` as bfloat16.
inline void convert_to_bf16(const void* data, DType dtype, std::int64_t first, std::int64_t count, std::uint16_t* out) {
  const char* source = static_cast<const char*>(data) + first * bytes_of(dtype);
  if (dtype == DType::bf16) {
    std::memcpy(out, source, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) out[i] = bf16_from_float(load_float(source, dtype, i));
}

}  // namespace longrope::kernels
