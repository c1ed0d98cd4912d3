#include "kernels/cpu/linear.hpp"

#include "kernels/check.hpp"
#include "kernels/cpu/parallel.hpp"

namespace longrope::kernels {

CpuLinear::CpuLinear(ConstMatrix weight, std::span<const float> bias, Precision precision, GemmCache& products)
    : gemm_(products.get(weight.cols, weight.rows, precision, !bias.empty())),
      activation_(precision == Precision::bf16 ? DType::bf16 : DType::f32),
      packed_(gemm_->pack(weight)),
      bias_(bias.begin(), bias.end()) {
  require(bias.empty() || static_cast<std::int64_t>(bias.size()) == weight.rows, "linear",
          "bias must have one element per output feature", static_cast<std::int64_t>(bias.size()));
}

void CpuLinear::apply(ConstMatrix x, Matrix y, bool accumulate) const {
  require_matrix(x, "linear", "x", y.rows, in_features(), activation_);
  require_matrix(y, "linear", "y", x.rows, out_features(), DType::f32);
  const bool one_block = x.rows <= kGemmRows;
  parallel_rows(x.rows, kGemmRows, [&](std::int64_t first, std::int64_t count) {
    gemm_->run(packed_.get(), bias_.empty() ? nullptr : bias_.data(), x.row_range(first, count).data,
               static_cast<float*>(y.row_range(first, count).data), count, accumulate, one_block);
  });
}

}  // namespace longrope::kernels
