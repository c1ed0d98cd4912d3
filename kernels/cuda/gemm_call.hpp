// One matrix product on the device, as its caller states it.
#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"

namespace longrope::kernels::cuda {

/// One product. Shapes, row-major: weight [out, in], x [rows, in], y [rows, y_stride] of which `out` columns are
/// written. Device pointers. weight and x are bf16, or e4m3 with one float32 scale per weight row and per row of x.
struct GemmCall {
  const void* weight = nullptr;
  const void* x = nullptr;
  const float* weight_scales = nullptr;  ///< [out]; null: bf16 operands
  const float* x_scales = nullptr;       ///< [rows]
  const void* bias = nullptr;            ///< [out] or null; of bias_dtype(call)
  void* y = nullptr;
  DType y_dtype = DType::bf16;  ///< bf16 or f32
  std::int64_t rows = 0;
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t y_stride = 0;
  bool accumulate = false;  ///< y +=; f32 only

  bool fp8() const { return weight_scales != nullptr; }
};

/// The type cuBLASLt wants the bias in: y's, but bf16 beside e4m3 operands.
inline DType bias_dtype(bool fp8, DType y_dtype) { return fp8 ? DType::bf16 : y_dtype; }

}  // namespace longrope::kernels::cuda
