#include "kernels/cpu/few_rows.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/convert.hpp"
#include "kernels/cpu/aligned.hpp"

namespace longrope::kernels {
namespace {

using dnnl::memory;

struct SliceYTag {};

constexpr std::int64_t kColumnMultiple = 64;                   // whole blocks of every layout that oneDNN packs
constexpr std::int64_t kSliceBytes = std::int64_t{512} << 10;  // of weights: enough to be worth a task

std::int64_t element_bytes(memory::data_type type) { return type == memory::data_type::bf16 ? 2 : 4; }

/// Numbers of either sign and of several magnitudes, so that sums in another order round otherwise.
float trial_number(std::int64_t index) {
  auto bits = static_cast<std::uint64_t>(index + 1) * 0x9E3779B97F4A7C15ULL;
  bits = (bits ^ (bits >> 29)) * 0xBF58476D1CE4E5B9ULL;
  bits ^= bits >> 32;
  const auto fraction = static_cast<float>(static_cast<std::int32_t>(bits & 0xFFFFFF) - 0x800000) * 0x1p-23F;
  return fraction * static_cast<float>(std::int64_t{1} << (bits >> 24 & 7));
}

void fill(float* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = trial_number(i);
}

}  // namespace

struct FewRows::Level {
  /// Columns that one primitive multiplies.
  struct Slice {
    std::int64_t first = 0;
    std::int64_t count = 0;
    std::int64_t weights_offset = 0;  // bytes
    const Product* assign = nullptr;
    const Product* accumulate = nullptr;
  };
  std::int64_t rows = 0;
  std::int64_t out = 0;
  std::vector<std::unique_ptr<Product>> products;
  std::vector<Slice> slices;
};

FewRows::FewRows(const ProductShape& shape, const Product& full, const Product& full_accumulate)
    : shape_(shape), full_(full), full_accumulate_(full_accumulate) {}
FewRows::~FewRows() = default;

std::int64_t FewRows::slices(const Level& level) { return static_cast<std::int64_t>(level.slices.size()); }
std::int64_t FewRows::rows(const Level& level) { return level.rows; }

const FewRows::Level* FewRows::level(std::int64_t rows, const void* weights, const float* bias) const {
  for (std::size_t index = 0; index < kLevels; ++index) {
    const std::int64_t size = std::int64_t{1} << index;
    if (size < rows) continue;
    std::call_once(tried_[index], [&] {
      for (const std::int64_t width : {slice_columns(), shape_.out}) {
        std::unique_ptr<Level> made = make_level(size, width);
        if (made == nullptr || !same_bits(*made, weights, bias)) continue;
        levels_[index] = std::move(made);
        break;
      }
    });
    if (levels_[index] != nullptr) return levels_[index].get();
  }
  return nullptr;
}

std::int64_t FewRows::slice_columns() const {
  const std::int64_t block_bytes = shape_.in * element_bytes(shape_.type) * kColumnMultiple;
  return std::min(shape_.out, std::max<std::int64_t>(1, kSliceBytes / block_bytes) * kColumnMultiple);
}

/// Null where the packed weights cannot be cut so: columns are then taken to lie in whole blocks one after another,
/// laid out as a block of rows would want them, which the sizes must bear out here and the bits later.
std::unique_ptr<FewRows::Level> FewRows::make_level(std::int64_t rows, std::int64_t width) const try {
  const std::int64_t blocks = round_up(shape_.out, kColumnMultiple) / kColumnMultiple;
  const auto packed_bytes = static_cast<std::int64_t>(full_.weights().get_size());
  if (width < shape_.out && packed_bytes % blocks != 0) return nullptr;
  auto level = std::make_unique<Level>();
  level->rows = rows;
  level->out = shape_.out;
  for (std::int64_t first = 0; first < shape_.out; first += width) {
    ProductShape shape = shape_;
    shape.out = std::min(width, shape_.out - first);
    Level::Slice slice;
    slice.first = first;
    slice.count = shape.out;
    slice.weights_offset = width < shape_.out ? packed_bytes / blocks * (first / kColumnMultiple) : 0;
    if (first > 0 && shape.out == width) {
      slice.assign = level->slices.front().assign;
      slice.accumulate = level->slices.front().accumulate;
    } else {
      const memory::desc any({shape.in, shape.out}, shape.type, memory::format_tag::any);
      const memory::desc layout = width == shape_.out ? full_.weights() : Product(shape, any).weights();
      shape.rows = rows;
      for (const bool accumulate : {false, true}) {
        shape.accumulate = accumulate;
        level->products.push_back(std::make_unique<Product>(shape, layout));
        (accumulate ? slice.accumulate : slice.assign) = level->products.back().get();
      }
      if (slice.weights_offset + static_cast<std::int64_t>(layout.get_size()) > packed_bytes) return nullptr;
    }
    level->slices.push_back(slice);
  }
  return level;
} catch (const dnnl::error&) {
  return nullptr;  // no kernel for so few rows or columns
}

void FewRows::run(const Level& level, std::int64_t slice, const void* weights, const float* bias, const void* x,
                  float* y, bool accumulate) {
  const Level::Slice& s = level.slices[static_cast<std::size_t>(slice)];
  const Product& product = accumulate ? *s.accumulate : *s.assign;
  const void* columns = static_cast<const char*>(weights) + s.weights_offset;
  const float* slice_bias = bias == nullptr ? nullptr : bias + s.first;
  if (level.rows == 1 || level.slices.size() == 1) {
    product.run(columns, slice_bias, x, y + s.first);
    return;
  }
  // oneDNN's packed products write dense matrices only.
  const auto row_bytes = static_cast<std::size_t>(s.count) * sizeof(float);
  auto* dense = static_cast<float*>(thread_scratch<SliceYTag>(level.rows * s.count * std::int64_t{4}));
  if (accumulate) {
    for (std::int64_t r = 0; r < level.rows; ++r) {
      std::memcpy(dense + r * s.count, y + r * level.out + s.first, row_bytes);
    }
  }
  product.run(columns, slice_bias, x, dense);
  for (std::int64_t r = 0; r < level.rows; ++r) {
    std::memcpy(y + r * level.out + s.first, dense + r * s.count, row_bytes);
  }
}

/// The first rows of a full block, beside the same rows alone; the latter lie in the block's second half.
bool FewRows::same_bits(const Level& level, const void* weights, const float* bias) const {
  const std::int64_t x_count = shape_.rows * shape_.in;
  void* x = thread_scratch<PaddedXTag>(x_count * element_bytes(shape_.type));
  if (shape_.type == memory::data_type::bf16) {
    auto* values = static_cast<std::uint16_t*>(x);
    for (std::int64_t i = 0; i < x_count; ++i) values[i] = bf16_from_float(trial_number(i));
  } else {
    fill(static_cast<float*>(x), x_count);
  }
  auto* whole = static_cast<float*>(thread_scratch<PaddedYTag>(shape_.rows * shape_.out * std::int64_t{4}));
  float* alone = whole + kMostRows * shape_.out;
  const std::int64_t count = level.rows * shape_.out;
  for (const bool accumulate : {false, true}) {
    fill(whole, shape_.rows * shape_.out);
    (accumulate ? full_accumulate_ : full_).run(weights, bias, x, whole);
    fill(alone, count);
    for (std::int64_t slice = 0; slice < slices(level); ++slice) run(level, slice, weights, bias, x, alone, accumulate);
    if (std::memcmp(whole, alone, static_cast<std::size_t>(count) * sizeof(float)) != 0) return false;
    // Weights of zeros would show nothing.
    if (!accumulate && std::count(whole, whole + count, 0.0F) > count / 2) return false;
  }
  return true;
}

}  // namespace longrope::kernels
