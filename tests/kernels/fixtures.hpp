// Random inputs, guarded outputs and comparisons of the kernel tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "kernels/backend.hpp"
#include "kernels/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/kernel_oracle.hpp"

namespace longrope::kernels::test {

using Floats = std::vector<float>;
using oracle::Doubles;
namespace oracle = longrope::oracle;

/// n draws from N(0, deviation^2), different at every call.
inline Floats random_floats(std::int64_t n, double deviation = 1.0) {
  static std::mt19937_64 generator(20240615);
  std::normal_distribution<double> normal(0.0, deviation);
  Floats values(static_cast<std::size_t>(n));
  for (float& value : values) value = static_cast<float>(normal(generator));
  return values;
}

inline std::vector<std::int32_t> random_ids(std::int64_t n, std::int64_t vocabulary) {
  static std::mt19937_64 generator(99);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
  for (auto& id : ids) id = static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(vocabulary));
  return ids;
}

inline std::uint16_t bf16_bits(float value) {
  const auto rounded = static_cast<float>(oracle::bf16(static_cast<double>(value)));
  std::uint32_t bits = 0;
  std::memcpy(&bits, &rounded, sizeof(bits));
  return static_cast<std::uint16_t>(bits >> 16);
}

inline double value_of(const void* data, DType dtype, std::int64_t index) {
  if (dtype == DType::f32) return static_cast<double>(static_cast<const float*>(data)[index]);
  const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(data)[index]) << 16;
  float value = 0.0F;
  std::memcpy(&value, &bits, sizeof(value));
  return static_cast<double>(value);
}

/// A matrix in backend memory between two guard zones, born full of NaN.
class Guarded {
 public:
  Guarded(const Backend& backend, std::int64_t rows, std::int64_t cols, DType dtype)
      : bytes_(rows * cols * bytes_of(dtype)), memory_(backend.allocate(bytes_ + 2 * kGuard)) {
    std::memset(memory_.get(), 0x5A, static_cast<std::size_t>(bytes_ + 2 * kGuard));
    std::memset(payload(), 0xFF, static_cast<std::size_t>(bytes_));
    matrix_ = {payload(), dtype, rows, cols};
  }
  /// The same, filled with values (rounded to dtype).
  Guarded(const Backend& backend, std::int64_t rows, std::int64_t cols, DType dtype, const Floats& values)
      : Guarded(backend, rows, cols, dtype) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::f32) {
        static_cast<float*>(matrix_.data)[i] = values[i];
      } else {
        static_cast<std::uint16_t*>(matrix_.data)[i] = bf16_bits(values[i]);
      }
    }
  }

  Matrix matrix() const { return matrix_; }
  double operator[](std::int64_t index) const { return value_of(matrix_.data, matrix_.dtype, index); }
  Doubles doubles() const {
    Doubles values;
    for (std::int64_t i = 0; i < matrix_.rows * matrix_.cols; ++i) values.push_back((*this)[i]);
    return values;
  }
  std::vector<unsigned char> bits() const { return {payload(), payload() + bytes_}; }
  bool guards_intact() const {
    const auto* bytes = static_cast<const unsigned char*>(memory_.get());
    for (std::int64_t i = 0; i < kGuard; ++i) {
      if (bytes[i] != 0x5A || bytes[kGuard + bytes_ + i] != 0x5A) return false;
    }
    return true;
  }

 private:
  static constexpr std::int64_t kGuard = 256;
  unsigned char* payload() const { return static_cast<unsigned char*>(memory_.get()) + kGuard; }

  std::int64_t bytes_;
  DeviceMemory memory_;
  Matrix matrix_;
};

/// Values as a backend of this precision sees them after rounding to its activation type.
inline Doubles seen(const Floats& values, DType dtype) {
  Doubles result;
  for (const float value : values) {
    const auto exact = static_cast<double>(value);
    result.push_back(dtype == DType::bf16 ? oracle::bf16(exact) : exact);
  }
  return result;
}

/// Whether value is finite and within tolerance of expected; NaN fails.
inline bool close(double value, double expected, double tolerance) {
  return std::isfinite(value) && std::abs(value - expected) <= tolerance;
}

/// Collects the worst violation instead of one assertion per element.
class Comparison {
 public:
  void add(double value, double expected, double tolerance, std::int64_t index) {
    if (close(value, expected, tolerance) || failed_) return;
    failed_ = true;
    UNSCOPED_INFO("element " << index << " is " << value << ", expected " << expected << " within " << tolerance);
  }
  bool ok() const { return !failed_; }

 private:
  bool failed_ = false;
};

/// The backends this machine can run; says so when bf16 is not among them.
inline std::vector<std::unique_ptr<Backend>> backends() {
  std::vector<std::unique_ptr<Backend>> all;
  all.push_back(make_cpu_backend(Precision::f32));
  try {
    all.push_back(make_cpu_backend(Precision::bf16));
  } catch (const InputError& error) {
    WARN("bf16 is not tested here: " << error.what());
  }
  return all;
}

/// One rounding to the activation type, relative.
inline double rounding(DType dtype) { return dtype == DType::bf16 ? 0x1p-8 : 0x1p-23; }

}  // namespace longrope::kernels::test
