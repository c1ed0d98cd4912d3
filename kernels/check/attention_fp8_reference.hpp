// What FP8 attention has quantised, read back from its workspace as doubles. Shares no code with what it checks but the
// workspace's offsets.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/check/reference.hpp"
#include "kernels/cuda/attention_fp8_layout.hpp"

namespace longrope::kernels::check {

/// OCP 8-bit floating point, E4M3: bias 7, no infinity, NaN where all other bits are ones.
inline double double_from_e4m3(std::uint8_t byte) {
  const int exponent = byte >> 3 & 15;
  const int fraction = byte & 7;
  if ((byte & 0x7F) == 0x7F) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return (byte & 0x80) != 0 ? -magnitude : magnitude;
}

/// Q, K minus its mean and V as the kernel sees them, in the shapes of an AttentionProblem; and the mean.
struct Fp8Inputs {
  Doubles q, k, v;
  Doubles mean;
  Doubles q_scales, k_scales, v_scales;  ///< [rows, heads], [kv_heads], [kv_heads]
  bool padding_is_zero = true;           ///< V beyond the last key

  Fp8Inputs(const std::vector<unsigned char>& workspace, const cuda::fp8::WorkspaceShape& s) {
    const cuda::fp8::Workspace place(s);
    const auto number = [&](std::int64_t offset, std::int64_t index) {
      float value = 0.0F;
      std::memcpy(&value, &workspace.at(static_cast<std::size_t>(offset + 4 * index)), sizeof(value));
      return static_cast<double>(value);
    };
    const auto byte = [&](std::int64_t offset, std::int64_t index) {
      return double_from_e4m3(workspace.at(static_cast<std::size_t>(offset + index)));
    };
    for (std::int64_t i = 0; i < s.rows * s.heads; ++i) q_scales.push_back(number(place.q_scales, i));
    for (std::int64_t h = 0; h < s.kv_heads; ++h) {
      k_scales.push_back(number(place.kv_scales, 2 * h));
      v_scales.push_back(number(place.kv_scales, 2 * h + 1));
    }
    for (std::int64_t i = 0; i < s.kv_heads * s.head_dim; ++i) mean.push_back(number(place.mean, i));
    for (std::int64_t i = 0; i < s.rows * s.heads * s.head_dim; ++i) {
      q.push_back(byte(place.q, i) * q_scales[static_cast<std::size_t>(i / s.head_dim)]);
    }
    const std::int64_t columns = s.kv_heads * s.head_dim;
    for (std::int64_t i = 0; i < s.keys * columns; ++i) {
      k.push_back(byte(place.k, i) * k_scales[static_cast<std::size_t>(i / s.head_dim % s.kv_heads)]);
    }
    v.resize(k.size());
    const std::int64_t padded = (s.keys + 127) / 128 * 128;
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t p = 0; p < padded; ++p) {
        // Of 16 places, number 4 q + i holds key 8 (i / 2) + 2 q + i % 2.
        const std::int64_t key = p / 16 * 16 + p % 4 / 2 * 8 + p % 16 / 4 * 2 + p % 2;
        const double value = byte(place.v, c * padded + p);
        if (key < s.keys) {
          v[static_cast<std::size_t>(key * columns + c)] = value * v_scales[static_cast<std::size_t>(c / s.head_dim)];
        } else if (!(value == 0.0)) {
          padding_is_zero = false;
        }
      }
    }
  }
};

/// The largest |quantised - exact| in units of what rounding to e4m3 may cost: 2^-4 of the value, or half the smallest
/// e4m3 times the scale. Above 1: wrong. NaN counts as infinite.
inline double worst_rounding(double exact, double quantised, double scale) {
  const double allowed = std::max(std::ldexp(std::fabs(exact), -4), std::ldexp(scale, -10));
  const double ratio = std::fabs(quantised - exact) / allowed;
  return std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio;
}

}  // namespace longrope::kernels::check
