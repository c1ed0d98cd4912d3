// A weight matrix packed for the CPU, and y = x W^T + bias over row blocks.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.hpp"
#include "kernels/cpu/gemm.hpp"

namespace longrope::kernels {

class CpuLinear final : public Linear {
 public:
  /// weight [out, in], any DType; bias [out] or empty.
  CpuLinear(ConstMatrix weight, std::span<const float> bias, Precision precision, GemmCache& products);

  std::int64_t in_features() const override { return gemm_->in_features(); }
  std::int64_t out_features() const override { return gemm_->out_features(); }

  /// y = x W^T + bias, or y += x W^T + bias; as Backend::linear.
  void apply(ConstMatrix x, Matrix y, bool accumulate) const;

 private:
  std::shared_ptr<const Gemm> gemm_;
  DType activation_;
  std::shared_ptr<void> packed_;
  std::vector<float> bias_;
};

}  // namespace longrope::kernels
