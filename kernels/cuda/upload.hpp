// Host weights to device memory through pinned buffers: one is converted into while the other travels.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>

#include "kernels/cuda/device.hpp"
#include "kernels/matrix.hpp"

namespace longrope::kernels::cuda {

/// Thread-safe; one upload at a time. What it returns has arrived: any stream may use it.
class Uploader {
 public:
  explicit Uploader(const Device& device) : device_(device) {}
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  /// A host matrix as dense [rows, padded_cols] of `dtype` (bf16 or f32), its new columns zero.
  /// Precondition: padded_cols >= matrix.cols.
  DeviceMemory matrix(ConstMatrix matrix, DType dtype, std::int64_t padded_cols) const;
  /// Host values as float32, or rounded to bf16; null for none.
  DeviceMemory vector(std::span<const float> values, DType dtype) const;

 private:
  struct Staging {
    void* memory = nullptr;
    cudaEvent_t sent = nullptr;
    std::int64_t bytes = 0;
  };
  void reserve(std::int64_t bytes) const;
  void release() const;

  const Device& device_;
  mutable std::mutex mutex_;
  mutable std::array<Staging, 2> staging_;
};

}  // namespace longrope::kernels::cuda
