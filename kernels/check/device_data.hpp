// Device memory between two guard zones, born full of NaN patterns, filled from and read back to host values.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cuda/check.hpp"
#include "kernels/matrix.hpp"

namespace longrope::kernels::check {

/// Bits of values that are exact in bfloat16.
inline std::vector<std::uint16_t> bf16_bits(const std::vector<float>& values) {
  std::vector<std::uint16_t> bits(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t word = 0;
    std::memcpy(&word, &values[i], sizeof(word));
    bits[i] = static_cast<std::uint16_t>(word >> 16);
  }
  return bits;
}

inline double double_from_bf16(std::uint16_t bits) {
  const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
  float value = 0.0F;
  std::memcpy(&value, &word, sizeof(value));
  return static_cast<double>(value);
}

/// Bytes of device memory as values.
inline std::vector<double> read_device(const void* device, DType dtype, std::int64_t count) {
  const auto size = static_cast<std::size_t>(count);
  std::vector<double> values(size);
  if (dtype == DType::f32) {
    std::vector<float> host(size);
    cuda::check(cudaMemcpy(host.data(), device, size * sizeof(float), cudaMemcpyDeviceToHost), "read");
    for (std::size_t i = 0; i < size; ++i) values[i] = static_cast<double>(host[i]);
  } else {
    std::vector<std::uint16_t> host(size);
    cuda::check(cudaMemcpy(host.data(), device, size * sizeof(std::uint16_t), cudaMemcpyDeviceToHost), "read");
    for (std::size_t i = 0; i < size; ++i) values[i] = double_from_bf16(host[i]);
  }
  return values;
}

class DeviceData {
 public:
  DeviceData(std::int64_t rows, std::int64_t cols, DType dtype)
      : bytes_(rows * cols * bytes_of(dtype)), matrix_{nullptr, dtype, rows, cols} {
    cuda::check(cudaMalloc(&memory_, static_cast<std::size_t>(bytes_ + 2 * kGuard)), "DeviceData");
    matrix_.data = static_cast<char*>(memory_) + kGuard;
    cuda::check(cudaMemset(memory_, 0x5A, static_cast<std::size_t>(bytes_ + 2 * kGuard)), "DeviceData");
    cuda::check(cudaMemset(matrix_.data, 0xFF, static_cast<std::size_t>(bytes_)), "DeviceData");
  }
  /// Filled with values; bf16 takes those that are exact in it.
  DeviceData(std::int64_t rows, std::int64_t cols, DType dtype, const std::vector<float>& values)
      : DeviceData(rows, cols, dtype) {
    const void* source = values.data();
    const std::vector<std::uint16_t> bits = dtype == DType::bf16 ? bf16_bits(values) : std::vector<std::uint16_t>();
    if (dtype == DType::bf16) source = bits.data();
    cuda::check(cudaMemcpy(matrix_.data, source, values.size() * static_cast<std::size_t>(bytes_of(dtype)),
                           cudaMemcpyHostToDevice),
                "DeviceData");
  }
  ~DeviceData() { cudaFree(memory_); }
  DeviceData(const DeviceData&) = delete;
  DeviceData& operator=(const DeviceData&) = delete;

  const Matrix& matrix() const { return matrix_; }
  void* data() const { return matrix_.data; }
  std::vector<double> values() const { return read_device(matrix_.data, matrix_.dtype, matrix_.rows * matrix_.cols); }
  std::vector<unsigned char> bits() const {
    std::vector<unsigned char> host(static_cast<std::size_t>(bytes_));
    cuda::check(cudaMemcpy(host.data(), matrix_.data, host.size(), cudaMemcpyDeviceToHost), "read");
    return host;
  }
  bool guards_intact() const {
    std::vector<unsigned char> host(static_cast<std::size_t>(bytes_ + 2 * kGuard));
    cuda::check(cudaMemcpy(host.data(), memory_, host.size(), cudaMemcpyDeviceToHost), "read");
    for (std::size_t i = 0; i < static_cast<std::size_t>(kGuard); ++i) {
      if (host[i] != 0x5A || host[host.size() - 1 - i] != 0x5A) return false;
    }
    return true;
  }

 private:
  static constexpr std::int64_t kGuard = 1024;

  std::int64_t bytes_;
  Matrix matrix_;
  void* memory_ = nullptr;
};

/// Host values as doubles.
inline std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

}  // namespace longrope::kernels::check
