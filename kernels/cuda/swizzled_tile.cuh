// Tiles of bf16 rows in shared memory, filled by cp.async and read by ldmatrix without bank conflicts.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/mma_sync.cuh"

namespace longrope::kernels::cuda {

/// Byte offset of 16-byte chunk `chunk` of row `row` in a tile whose rows hold kChunks of them, permuted so that the 8
/// rows an ldmatrix reads at one chunk lie in 8 different groups of 4 banks.
template <int kChunks>
__device__ __forceinline__ std::uint32_t swizzled(int row, int chunk) {
  static_assert(kChunks % 4 == 0);
  const int moved = kChunks % 8 == 0 ? chunk ^ (row & 7) : chunk ^ ((row >> 1) & 3);
  return static_cast<std::uint32_t>((row * kChunks + moved) * 16);
}

/// The address 2 d chunks right of and `rows` (a multiple of 8) rows below `address`, which is that of chunk 0 or 1 of
/// some row in a tile that starts at a multiple of 128 bytes. One instruction at most: only low bits are permuted.
template <int kChunks>
__device__ __forceinline__ std::uint32_t fragment_at(std::uint32_t address, int rows, int d) {
  constexpr int kPeriod = kChunks % 8 == 0 ? 4 : 2;  // steps of 2 chunks that stay within the permuted bits
  const int flipped = d % kPeriod * 32;
  const int added = rows * kChunks * 16 + d / kPeriod * (kPeriod * 32);
  return (address ^ static_cast<std::uint32_t>(flipped)) + static_cast<std::uint32_t>(added);
}

/// How kThreads threads share the copying of a kRows x (8 kChunks) tile: a thread owns one chunk of every kColumns and
/// one row of every kRowStep, so that its addresses differ by constants.
template <int kRows, int kChunks, int kThreads>
class TileCopy {
 public:
  static constexpr int kColumns = kChunks % 16 == 0 ? 16 : kChunks % 8 == 0 ? 8 : 4;
  static constexpr int kRowStep = kThreads / kColumns;
  static_assert(kChunks % kColumns == 0 && kThreads % kColumns == 0 && kRows % kRowStep == 0 && kRowStep % 8 == 0);

  __device__ __forceinline__ explicit TileCopy(int thread)
      : row_(thread / kColumns), column_(thread % kColumns), offset_(swizzled<kChunks>(row_, column_)) {}

  /// Where this thread starts in rows of `stride` elements, the first of them at `first_row`.
  __device__ __forceinline__ const __nv_bfloat16* source(const __nv_bfloat16* first_row, std::int64_t stride) const {
    return first_row + row_ * stride + column_ * 8;
  }

  /// Starts this thread's copies from `source` into the tile at `shared`. Rows from `rows` on and elements from `width`
  /// on become zeros and are not read: their memory may be missing or hold anything.
  __device__ __forceinline__ void start(std::uint32_t shared, const __nv_bfloat16* source, std::int64_t stride,
                                        int rows, int width) const {
    copy(shared, source, stride, width, [&](int row) { return row_ + row < rows; });
  }

  /// The same where all kRows rows are there.
  __device__ __forceinline__ void start_whole(std::uint32_t shared, const __nv_bfloat16* source, std::int64_t stride,
                                              int width) const {
    copy(shared, source, stride, width, [](int) { return true; });
  }

 private:
  template <typename Exists>
  __device__ __forceinline__ void copy(std::uint32_t shared, const __nv_bfloat16* source, std::int64_t stride,
                                       int width, Exists exists) const {
#pragma unroll
    for (int i = 0; i < kRows / kRowStep; ++i) {
#pragma unroll
      for (int j = 0; j < kChunks / kColumns; ++j) {
        const bool inside = exists(i * kRowStep) && (column_ + j * kColumns) * 8 < width;
        cp_async_16(shared + offset_ + static_cast<std::uint32_t>((i * kRowStep * kChunks + j * kColumns) * 16),
                    source + j * kColumns * 8, inside);
      }
      source += kRowStep * stride;
    }
  }

  int row_;
  int column_;
  std::uint32_t offset_;
};

}  // namespace longrope::kernels::cuda
