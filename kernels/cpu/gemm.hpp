// y = x W^T (+ bias) (+ y) through oneDNN, weights packed once. Callers split rows into blocks of kGemmRows and run
// them as tasks, each on one thread; few rows may use several. Third-party types stay behind Gemm::Implementation.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/backend.hpp"

namespace longrope::kernels {

/// Rows of one product; a row's bits are those of a product of so many, whatever the threads and the rows around it.
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
  /// dense; packed: from pack(); bias [out], null if and only if built without. Precondition: 1 <= rows <= kGemmRows.
  /// Up to 128 rows cost what they are, rounded up to a power of two, or reading the weights (see FewRows); more cost
  /// as much as kGemmRows. threads: few rows may use all of the caller's arena.
  void run(const void* packed, const float* bias, const void* x, float* y, std::int64_t rows, bool accumulate,
           bool threads = false) const;
  /// Whether so few rows have a product of their own, or are padded: tries it where it was not.
  bool takes_few(const void* packed, const float* bias, std::int64_t rows) const;

 private:
  struct Implementation;
  std::int64_t in_;
  std::int64_t out_;
  std::unique_ptr<Implementation> implementation_;
};

/// Products by their shapes, made when first asked for. Thread-safe.
class GemmCache {
 public:
  std::shared_ptr<const Gemm> get(std::int64_t in_features, std::int64_t out_features, Precision precision,
                                  bool has_bias);

 private:
  std::mutex mutex_;
  std::map<std::array<std::int64_t, 4>, std::shared_ptr<const Gemm>> made_;
};

/// Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16).
bool processor_has_bf16_products();

}  // namespace longrope::kernels
