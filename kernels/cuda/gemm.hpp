// y = x W^T (+ bias) (+ y) on the tensor cores through cuBLASLt, float32 accumulation.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>

#include "kernels/cuda/cublaslt_library.hpp"
#include "kernels/cuda/device.hpp"
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

/// A cuBLASLt handle and the algorithms chosen so far. Thread-safe. For one shape the algorithm is always the first of
/// the library's ranking (no atomics among them: reductions over split K go through the workspace), so the bits of a
/// product are the same from run to run.
class Gemm {
 public:
  explicit Gemm(const Device& device);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Enqueues the product on the calling thread's stream. Throws RuntimeError if cuBLASLt knows no way to compute it.
  void run(const GemmCall& call) const;

 private:
  struct Algorithm {
    cublasLtMatmulAlgo_t algorithm;
    std::int64_t workspace_bytes = 0;
  };
  using Key = std::array<std::int64_t, 11>;
  struct Descriptors;

  Algorithm choose(const GemmCall& call, const Descriptors& descriptors) const;

  const Device& device_;
  const CublasLt& lt_;
  cublasLtHandle_t handle_ = nullptr;
  mutable std::mutex mutex_;
  mutable std::map<Key, Algorithm> chosen_;
};

}  // namespace longrope::kernels::cuda
