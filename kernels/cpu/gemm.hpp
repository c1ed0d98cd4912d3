// y = x W^T (+ bias) (+ y) through oneDNN, weights packed once. Single-threaded: callers split rows into blocks of
// kGemmRows and run them as tasks. Third-party types stay behind Gemm::Implementation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kernels/backend.hpp"

namespace longrope::kernels {

/// Rows of one product; fixed, so that a row's bits depend neither on the threads nor on the rows around it.
inline constexpr std::int64_t kGemmRows = 256;

/// The product of one shape. Holds no weights: matrices of the same shape may share one Gemm.
/// Thread-safe.
class Gemm {
 public:
  /// Errors: InputError if oneDNN has no kernel for the shape.
  Gemm(std::int64_t in_features, std::int64_t out_features, Precision precision, bool has_bias);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  std::int64_t in_features() const { return in_; }
  std::int64_t out_features() const { return out_; }

  /// weight: [out_features, in_features], any DType, converted to the precision's type and packed.
  std::shared_ptr<void> pack(ConstMatrix weight) const;

  /// y = x W^T + bias, or y += x W^T + bias. x [rows, in] in the precision's activation type, y f32 [rows, out], both
  /// dense; packed: from pack(); bias [out], null if and only if built without. Precondition: 1 <= rows <= kGemmRows;
  /// fewer rows cost as much as kGemmRows.
  void run(const void* packed, const float* bias, const void* x, float* y, std::int64_t rows, bool accumulate) const;

 private:
  struct Implementation;
  std::int64_t in_;
  std::int64_t out_;
  std::unique_ptr<Implementation> implementation_;
};

/// Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16).
bool processor_has_bf16_products();

}  // namespace longrope::kernels
