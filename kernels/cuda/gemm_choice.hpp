// Which of cuBLASLt's algorithms multiplies: one for all numbers of rows, so that a row's bits do not depend on how
// many rows go with it. A kernel that gives each output tile to one block sums over k in an order of its own, whatever
// the number of tiles; splitting k over blocks does not. Touches no device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

namespace longrope::kernels::cuda {

/// What decides of an algorithm: CUBLASLT_ALGO_CONFIG_SPLITK_NUM and CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME.
struct GemmCandidate {
  std::int32_t split_k = 1;
  std::uint32_t reduction_scheme = 0;  ///< CUBLASLT_REDUCTION_SCHEME_NONE

  bool splits_k() const { return split_k > 1 || reduction_scheme != 0; }
};

struct GemmChoice {
  std::size_t index = 0;          ///< of the candidates
  bool rows_independent = false;  ///< a row's bits were found to be the same alone, among few and among many
};

/// Of `candidates`, the library's ranking, the first that does not split k, that the library `accepts` for every number
/// of rows tried, and whose rows `agree` with one another (asked in this order, of no more than it takes). If there is
/// none, the first that is accepted, else the first: nothing is refused for want of that property. None of none.
std::optional<GemmChoice> choose_gemm(std::span<const GemmCandidate> candidates,
                                      const std::function<bool(std::size_t)>& accepts,
                                      const std::function<bool(std::size_t)>& agree);

/// The largest power of two up to 256 that divides the address of each row of a matrix: what an algorithm may assume of
/// all its views. pitch_bytes: from row to row.
std::uint32_t row_alignment(const void* first_row, std::int64_t pitch_bytes);

}  // namespace longrope::kernels::cuda
