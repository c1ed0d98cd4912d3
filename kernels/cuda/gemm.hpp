// y = x W^T (+ bias) (+ y) on the tensor cores through cuBLASLt, float32 accumulation.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/cuda/cublaslt_library.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/cuda/gemm_call.hpp"

namespace longrope::kernels::cuda {

/// A cuBLASLt handle and the algorithms chosen so far. Thread-safe.
///
/// A shape (weight, types, bias, accumulation, alignment of rows) has one algorithm for all numbers of rows: the one
/// that the library ranks first for a whole chunk, of those that do not split k (gemm_choice.hpp), tried when the shape
/// is first used (gemm_probe.hpp). So the bits of a row depend neither on the run nor on the rows beside it, and rows
/// of several sequences may go through one product. What that costs: few rows run with a chunk's tiles, so that the
/// products of one-row decoding occupy fewer multiprocessors than an algorithm for one row would.
class Gemm {
 public:
  explicit Gemm(const Device& device);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Enqueues the product on the calling thread's stream. A shape's first use waits for the device. Throws RuntimeError
  /// if cuBLASLt knows no way to compute it.
  void run(const GemmCall& call) const;

  /// Chooses the shape's algorithm now. Of `call`, rows does not matter, x and y may be null, and x_scales may be any
  /// device pointer. What cuBLASLt cannot compute is left to be refused by run.
  void prepare(const GemmCall& call) const;

  /// Whether every shape so far has an algorithm whose rows do not depend on one another.
  bool rows_independent() const { return rows_independent_; }

 private:
  /// An algorithm for one shape and number of rows.
  struct Algorithm {
    cublasLtMatmulAlgo_t algorithm;
    std::int64_t workspace_bytes = 0;
  };
  using Key = std::array<std::int64_t, 10>;
  struct Descriptors;

  static Key key_of(const GemmCall& call);
  Algorithm algorithm_for(const GemmCall& call, const Descriptors& descriptors) const;
  const std::optional<cublasLtMatmulAlgo_t>& shape_algorithm(const Key& key, const GemmCall& call) const;
  /// Of weight, x and y, in bytes.
  using Alignments = std::array<std::uint32_t, 3>;
  static Alignments alignments_of_rows(const GemmCall& call);
  std::vector<cublasLtMatmulHeuristicResult_t> ranking(const GemmCall& call, const Alignments& alignments,
                                                       std::uint32_t reduction_schemes, int most) const;
  bool check(const Descriptors& descriptors, const cublasLtMatmulAlgo_t& algorithm, Algorithm& checked) const;
  cublasStatus_t enqueue(const GemmCall& call, const Descriptors& descriptors, const Algorithm& chosen) const;
  [[noreturn]] void refuse(const GemmCall& call) const;

  const Device& device_;
  const CublasLt& lt_;
  cublasLtHandle_t handle_ = nullptr;
  mutable std::mutex mutex_;                                           ///< of the two maps
  mutable std::map<Key, std::optional<cublasLtMatmulAlgo_t>> shapes_;  ///< empty: the library knows none
  mutable std::map<std::pair<Key, std::int64_t>, Algorithm> by_rows_;
  mutable std::atomic<bool> rows_independent_{true};
};

}  // namespace longrope::kernels::cuda
