// Views of row-major matrices in a backend's memory. A view owns nothing and never outlives the call it is passed to.
#pragma once

#include <cstdint>

namespace longrope::kernels {

/// Element types that weights may have on disk and activations may have in memory.
enum class DType : std::uint8_t { f32, f16, bf16 };

/// Bytes of one element.
constexpr std::int64_t bytes_of(DType dtype) { return dtype == DType::f32 ? 4 : 2; }

/// A dense row-major matrix [rows, cols]; row stride is cols.
struct ConstMatrix {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  /// Rows [begin, begin + count) as a view.
  ConstMatrix row_range(std::int64_t begin, std::int64_t count) const {
    return {static_cast<const char*>(data) + begin * cols * bytes_of(dtype), dtype, count, cols};
  }
};

/// The same, writable.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  Matrix row_range(std::int64_t begin, std::int64_t count) const {
    return {static_cast<char*>(data) + begin * cols * bytes_of(dtype), dtype, count, cols};
  }
  operator ConstMatrix() const { return {data, dtype, rows, cols}; }
};

}  // namespace longrope::kernels
