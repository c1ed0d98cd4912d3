// Products of fewer rows than a full block from the same packed weights, so that decoding a token costs reading them
// once and not a block's arithmetic. oneDNN may order the sums of another number of rows otherwise: a product is used
// only after it gave, on numbers that would show it, the bits of the full block; else the block is padded.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/cpu/onednn_product.hpp"

namespace longrope::kernels {

/// Scratch for padded rows of x and y; a trial takes a full block of each.
struct PaddedXTag {};
struct PaddedYTag {};

/// Products of one shape of weights, W being [in, out] in the layout and by the arithmetic of a full block. The
/// weights' columns are cut into slices, whatever the threads, which may run at once. Thread-safe.
class FewRows {
 public:
  /// Most rows. More take a padded block.
  static constexpr std::int64_t kMostRows = 128;

  /// full: the products of a block, y = and y +=, of full_rows >= 2 kMostRows rows; both outlive this.
  FewRows(const ProductShape& shape, const Product& full, const Product& full_accumulate);
  ~FewRows();

  /// What computes `rows` rows or some more; null: pad a block. The first call for a number of rows tries it on these
  /// weights.
  struct Level;
  const Level* level(std::int64_t rows, const void* weights, const float* bias) const;

  static std::int64_t slices(const Level& level);
  /// Rows that x and y must have room for: at least those asked for.
  static std::int64_t rows(const Level& level);
  /// One slice of the columns: y = or += x W + bias; y's rows are `out` apart.
  static void run(const Level& level, std::int64_t slice, const void* weights, const float* bias, const void* x,
                  float* y, bool accumulate);

 private:
  static constexpr std::size_t kLevels = 8;  // 1, 2, 4 .. kMostRows rows
  std::int64_t slice_columns() const;
  std::unique_ptr<Level> make_level(std::int64_t rows, std::int64_t width) const;
  bool same_bits(const Level& level, const void* weights, const float* bias) const;

  ProductShape shape_;  // of a full block
  const Product& full_;
  const Product& full_accumulate_;
  mutable std::array<std::once_flag, kLevels> tried_;
  mutable std::array<std::unique_ptr<Level>, kLevels> levels_;
};

}  // namespace longrope::kernels
