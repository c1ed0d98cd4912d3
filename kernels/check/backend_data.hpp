// What a whole model is checked with: a backend's own memory, and random weights to pack.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/backend.hpp"
#include "kernels/check/harness.hpp"

namespace longrope::kernels::check {

struct Buffer {
  Buffer(const Backend& backend, DType dtype, std::int64_t rows, std::int64_t cols)
      : memory(backend.allocate(rows * cols * bytes_of(dtype))), matrix{memory.get(), dtype, rows, cols} {}
  DeviceMemory memory;
  Matrix matrix;
};

class RandomWeights {
 public:
  /// In host memory, of deviation 1 / sqrt(cols); lives until the next call, long enough for packing.
  ConstMatrix operator()(std::int64_t rows, std::int64_t cols) {
    values_ = random_values(rows * cols, 1.0 / std::sqrt(static_cast<double>(cols)), false);
    return {values_.data(), DType::f32, rows, cols};
  }

 private:
  std::vector<float> values_;
};

}  // namespace longrope::kernels::check
