// The Hopper kernel's address arithmetic against PTX's definitions, without a GPU: TMA's swizzled boxes are laid into a
// model of shared memory, and what wgmma would read there through the descriptors must be the elements meant.
#include <cstdint>
#include <vector>

#include "kernels/cuda/attention_hopper_layout.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda::hopper;

namespace {

// An element is known by its row and column in the tile.
struct Element {
  int row = -1;
  int column = -1;
  bool operator==(const Element&) const = default;
};

/// Shared memory, 2 bytes an element.
class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes) : cells_(bytes / 2) {}

  /// A TMA box of 64 columns with CU_TENSOR_MAP_SWIZZLE_128B: in each 128-byte line the 16-byte pieces are permuted by
  /// XOR with the line's number modulo 8 (CUDA programming guide, "TMA swizzle").
  void write_box(std::uint32_t address, int first_row, int rows, int first_column) {
    for (int row = 0; row < rows; ++row) {
      const std::uint32_t line = address / 128 + static_cast<std::uint32_t>(row);
      for (int column = 0; column < 64; ++column) {
        const std::uint32_t piece = static_cast<std::uint32_t>(column / 8) ^ (line % 8);
        cells_.at(line * 64 + piece * 8 + static_cast<std::uint32_t>(column % 8)) = {first_row + row,
                                                                                     first_column + column};
      }
    }
  }

  /// What wgmma reads at a byte offset of its canonical layout: Swizzle<3, 4, 3> of start address plus offset.
  Element read(std::uint64_t descriptor, std::uint32_t offset) const {
    REQUIRE((descriptor >> 62) == 1);         // 128-byte swizzle
    REQUIRE(((descriptor >> 49) & 7U) == 0);  // base offset: the pattern starts at a multiple of 1024
    const auto start = static_cast<std::uint32_t>(descriptor & 0x3FFFU) * 16;
    const std::uint32_t linear = start + offset;
    const std::uint32_t swizzled = linear ^ ((linear >> 7 & 7U) << 4);
    return cells_.at(swizzled / 2);
  }

 private:
  std::vector<Element> cells_;
};

std::uint32_t leading_bytes(std::uint64_t descriptor) {
  return static_cast<std::uint32_t>(descriptor >> 16 & 0x3FFFU) * 16;
}
std::uint32_t stride_bytes(std::uint64_t descriptor) {
  return static_cast<std::uint32_t>(descriptor >> 32 & 0x3FFFU) * 16;
}

/// K-major, 128B: ((8, m), (8, 2)) : ((64, SBO), (1, 8)) elements.
Element k_major(const SharedMemory& memory, std::uint64_t descriptor, int mn, int k) {
  const std::uint32_t offset = static_cast<std::uint32_t>(mn % 8) * 128 +
                               static_cast<std::uint32_t>(mn / 8) * stride_bytes(descriptor) +
                               static_cast<std::uint32_t>(k) * 2;
  return memory.read(descriptor, offset);
}

/// MN-major, 128B: ((8, 8, m), (8, 2)) : ((1, 8, LBO), (64, SBO)) elements.
Element mn_major(const SharedMemory& memory, std::uint64_t descriptor, int mn, int k) {
  const std::uint32_t offset =
      static_cast<std::uint32_t>(mn % 64) * 2 + static_cast<std::uint32_t>(mn / 64) * leading_bytes(descriptor) +
      static_cast<std::uint32_t>(k % 8) * 128 + static_cast<std::uint32_t>(k / 8) * stride_bytes(descriptor);
  return memory.read(descriptor, offset);
}

/// A tile as the producer loads it: one box per 64 columns.
void load_tile(SharedMemory& memory, std::uint32_t address, int rows, int head_dim) {
  for (int panel = 0; panel < head_dim / 64; ++panel) {
    memory.write_box(address + static_cast<std::uint32_t>(panel) * panel_bytes(rows), 0, rows, 64 * panel);
  }
}

struct Shape {
  int rows, head_dim;
};
constexpr Shape kShapes[] = {{128, 64}, {192, 64}, {128, 128}, {176, 128}, {192, 128}, {64, 256}, {128, 256}};

}  // namespace

TEST_CASE("wgmma reads rows of Q and K where TMA put them", "[hopper]") {
  for (const Shape& shape : kShapes) {
    const std::uint32_t address = 5 * 1024;
    SharedMemory memory(address + tile_bytes(shape.rows, shape.head_dim));
    load_tile(memory, address, shape.rows, shape.head_dim);
    int wrong = 0;
    for (int first = 0; first + 64 <= shape.rows; first += 64) {  // a warpgroup's rows begin inside the tile
      for (int step = 0; step < shape.head_dim / 16; ++step) {
        const std::uint64_t operand = row_descriptor(address + panel_bytes(first)) + row_step(step, shape.rows);
        for (int row = 0; row < shape.rows - first; ++row) {
          for (int k = 0; k < 16; ++k) {
            if (!(k_major(memory, operand, row, k) == Element{first + row, 16 * step + k})) ++wrong;
          }
        }
      }
    }
    INFO("tile of " << shape.rows << " x " << shape.head_dim);
    CHECK(wrong == 0);
  }
}

TEST_CASE("wgmma reads columns of V where TMA put them", "[hopper]") {
  for (const Shape& shape : kShapes) {
    const std::uint32_t address = 7 * 1024;
    SharedMemory memory(address + tile_bytes(shape.rows, shape.head_dim));
    load_tile(memory, address, shape.rows, shape.head_dim);
    const int columns = shape.head_dim < 128 ? shape.head_dim : 128;  // of one instruction
    int wrong = 0;
    for (int step = 0; step < shape.rows / 16; ++step) {
      for (int first = 0; first < shape.head_dim; first += columns) {
        const std::uint64_t operand =
            column_descriptor(address, shape.rows) + column_step(step, first / 64, shape.rows);
        for (int n = 0; n < columns; ++n) {
          for (int k = 0; k < 16; ++k) {
            if (!(mn_major(memory, operand, n, k) == Element{16 * step + k, first + n})) ++wrong;
          }
        }
      }
    }
    INFO("tile of " << shape.rows << " x " << shape.head_dim);
    CHECK(wrong == 0);
  }
}

TEST_CASE("a descriptor's fields hold the largest offsets of shared memory", "[hopper]") {
  const std::uint64_t operand = column_descriptor(226 * 1024, 256);
  CHECK((operand & 0x3FFFU) * 16 == 226 * 1024);
  CHECK(leading_bytes(operand) == 256 * 128);
  CHECK(stride_bytes(operand) == 1024);
  // Steps stay inside the address field: the last of a tile that ends where a block's shared memory does.
  const std::uint64_t last = column_descriptor(227 * 1024 - tile_bytes(128, 128), 128) + column_step(7, 1, 128);
  CHECK((last & 0x3FFFU) * 16 == 227 * 1024 - 2048);
  CHECK(leading_bytes(last) == 128 * 128);
}
