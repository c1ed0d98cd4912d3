// A float32 vector in host memory: the weight of a norm.
#pragma once

#include <span>
#include <vector>

#include "kernels/backend.hpp"

namespace longrope::kernels {

class CpuVector final : public Vector {
 public:
  explicit CpuVector(std::span<const float> values) : values_(values.begin(), values.end()) {}

  std::int64_t size() const override { return static_cast<std::int64_t>(values_.size()); }
  std::span<const float> values() const { return values_; }

 private:
  std::vector<float> values_;
};

}  // namespace longrope::kernels
