// What one wgmma computes: operands read through descriptors, and the products. Source: PTX ISA, "Asynchronous
// warpgroup-level matrix shared memory layout" and "Register fragments and shared memory matrix layouts".
#pragma once

#include <cuda_fp8.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/support/block_emulation/hopper/shared_window.hpp"

namespace block_emulation::hopper {

enum class Element { bf16, e4m3 };

constexpr int bytes_of(Element element) { return element == Element::bf16 ? 2 : 1; }
constexpr int depth_of(Element element) { return 32 / bytes_of(element); }  // k of one instruction

inline float value_of(Element element, std::uint32_t bits) {
  if (element == Element::bf16) return std::bit_cast<float>(bits << 16U);
  const __half_raw half = __nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(bits), __NV_E4M3);
  return __half2float(half);
}

/// An operand in shared memory with 128-byte swizzle. Byte offsets of its canonical layouts, before the swizzle:
/// K-major ((8, m), (8, 2)) : ((64, stride), (1, 8)), MN-major ((8, 8, m), (8, 2)) : ((1, 8, leading), (64, stride)),
/// in bf16 elements.
class SharedOperand {
 public:
  SharedOperand(std::uint64_t descriptor, Element element, bool k_major)
      : start_(field(descriptor, 0)),
        leading_(field(descriptor, 16)),
        stride_(field(descriptor, 32)),
        bytes_(static_cast<std::uint32_t>(bytes_of(element))),
        k_major_(k_major) {
    if (descriptor >> 62U != 1) throw EmulationError("wgmma: descriptors are of 128-byte swizzle here");
    if ((descriptor >> 49U & 7U) != 0 || start_ % 1024 >= 128) {
      throw EmulationError("wgmma: an operand starts where the swizzle's pattern does, with base offset 0");
    }
    if (!k_major && element != Element::bf16) throw EmulationError("wgmma: 8-bit operands are K-major");
  }

  std::uint32_t address(int mn, int k) const {
    const auto m = static_cast<std::uint32_t>(mn);
    const auto d = static_cast<std::uint32_t>(k);
    const std::uint32_t offset = k_major_ ? m % 8 * 128 + m / 8 * stride_ + d * bytes_
                                          : m % 64 * 2 + m / 64 * leading_ + d % 8 * 128 + d / 8 * stride_;
    const std::uint32_t linear = start_ + offset;
    return linear ^ ((linear >> 7U & 7U) << 4U);
  }

  /// Addresses of the 16-byte pieces of `count` rows or columns and `depth` k.
  std::vector<std::uint32_t> pieces(int count, int depth) const {
    std::vector<std::uint32_t> all;
    const int step = static_cast<int>(kPiece / bytes_);
    for (int mn = 0; mn < count; mn += k_major_ ? 1 : step) {
      for (int k = 0; k < depth; k += k_major_ ? step : 1) all.push_back(address(mn, k));
    }
    return all;
  }

 private:
  static std::uint32_t field(std::uint64_t descriptor, unsigned shift) {
    return static_cast<std::uint32_t>(descriptor >> shift & 0x3FFFU) * 16;
  }
  std::uint32_t start_, leading_, stride_, bytes_;
  bool k_major_;
};

/// A, or B transposed: rows of `depth` values.
struct Matrix {
  int rows = 0;
  int depth = 0;
  std::vector<float> values;
  Matrix(int r, int d) : rows(r), depth(d), values(static_cast<std::size_t>(r * d)) {}
  float& at(int row, int k) { return values[static_cast<std::size_t>(row * depth + k)]; }
  const float* row(int r) const {
    return values.data() + static_cast<std::size_t>(r) * static_cast<std::size_t>(depth);
  }
};

inline Matrix read_operand(SharedWindow& window, int rank, const SharedOperand& operand, Element element, int rows) {
  Matrix matrix(rows, depth_of(element));
  const auto bytes = static_cast<std::uint32_t>(bytes_of(element));
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < matrix.depth; ++k) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, window.at(rank, operand.address(row, k), bytes), bytes);
      matrix.at(row, k) = value_of(element, bits);
    }
  }
  return matrix;
}

/// One e4m3 dot product added to `sum` as Hopper's tensor cores do it: all 33 terms are cut to 13 fractional bits at
/// the largest exponent among them, added exactly, and the sum is cut to 13 fractional bits. Measured by Xie et al.
/// (MMA-Sim, arXiv 2511.10909). `exponent_a` and `_b` are those of the factors, low for zeros.
inline float add_e4m3_products(float sum, const float* a, const float* b, const int* exponent_a, const int* exponent_b,
                               int depth) {
  constexpr int kFraction = 13;
  int highest = sum == 0.0F ? -126 : std::max(std::ilogb(sum), -126);
  float plain = sum;
  for (int k = 0; k < depth; ++k) {
    highest = std::max(highest, exponent_a[k] + exponent_b[k]);
    plain += a[k] * b[k];
  }
  if (!std::isfinite(plain)) return std::numeric_limits<float>::quiet_NaN();
  const float unit = std::ldexp(1.0F, std::min(kFraction - highest, 127));
  auto total = static_cast<int>(sum * unit);
  for (int k = 0; k < depth; ++k) total += static_cast<int>(a[k] * b[k] * unit);
  const auto bits = std::bit_cast<std::uint64_t>(static_cast<double>(total));
  const auto cut = std::bit_cast<double>(bits >> (52U - kFraction) << (52U - kFraction));
  return static_cast<float>(cut / unit);
}

/// sums[rows of a, rows of b] += a b^T.
inline void multiply(Element element, const Matrix& a, const Matrix& b, std::vector<float>& sums) {
  if (element == Element::bf16) {
    std::vector<float> columns(b.values.size());  // b, one row per k: the loop over n is the inner one
    for (int n = 0; n < b.rows; ++n) {
      for (int k = 0; k < b.depth; ++k) columns[static_cast<std::size_t>(k * b.rows + n)] = b.row(n)[k];
    }
    for (int m = 0; m < a.rows; ++m) {
      float* const to = sums.data() + static_cast<std::size_t>(m * b.rows);
      for (int k = 0; k < a.depth; ++k) {
        const float factor = a.row(m)[k];
        const float* const from = columns.data() + static_cast<std::size_t>(k * b.rows);
        for (int n = 0; n < b.rows; ++n) to[n] += factor * from[n];
      }
    }
    return;
  }
  const auto exponents = [](const Matrix& matrix) {
    std::vector<int> all;
    for (const float v : matrix.values)
      all.push_back(v == 0.0F || !std::isfinite(v) ? -1000 : std::max(std::ilogb(v), -6));
    return all;
  };
  const std::vector<int> exponent_a = exponents(a);
  const std::vector<int> exponent_b = exponents(b);
  for (int m = 0; m < a.rows; ++m) {
    for (int n = 0; n < b.rows; ++n) {
      float& sum = sums[static_cast<std::size_t>(m * b.rows + n)];
      sum = add_e4m3_products(sum, a.row(m), b.row(n), exponent_a.data() + m * a.depth, exponent_b.data() + n * b.depth,
                              a.depth);
    }
  }
}

}  // namespace block_emulation::hopper
