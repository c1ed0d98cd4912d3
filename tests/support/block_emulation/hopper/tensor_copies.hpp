// TMA copies of emulated Hopper blocks: boxes of rank-3 tensors into shared memory with 128-byte swizzle, zeros beyond
// the tensor. Source: PTX ISA, "cp.async.bulk.tensor"; CUDA programming guide, "TMA swizzle".
#pragma once

#include <cuda.h>  // CUtensorMap: types only

#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/support/block_emulation/hopper/barriers.hpp"
#include "tests/support/block_emulation/hopper/shared_window.hpp"

namespace block_emulation::hopper {

/// What stands in a CUtensorMap here.
struct TensorDescription {
  static constexpr std::uint64_t kMagic = 0x656d756c6174696f;
  std::uint64_t magic = kMagic;
  const std::uint8_t* base = nullptr;
  std::int64_t extent[3] = {};
  std::int32_t box[3] = {};
  std::int32_t element_bytes = 0;
};
static_assert(sizeof(TensorDescription) <= sizeof(CUtensorMap));

/// A dense row-major tensor [extent[2], extent[1], extent[0]]: innermost extent first, as TMA counts.
inline CUtensorMap fake_tensor_map(const void* base, const std::int64_t (&extent)[3], const int (&box)[3],
                                   int element_bytes) {
  TensorDescription tensor{.base = static_cast<const std::uint8_t*>(base), .element_bytes = element_bytes};
  for (int i = 0; i < 3; ++i) {
    tensor.extent[i] = extent[i];
    tensor.box[i] = box[i];
    if (extent[i] < 1 || box[i] < 1 || box[i] > 256) throw EmulationError("tensor map: extents and boxes of 1 to 256");
  }
  if (box[0] * element_bytes != 128) throw EmulationError("tensor map: rows of a box are the swizzle's 128 bytes");
  if (reinterpret_cast<std::uintptr_t>(base) % 16 != 0 || extent[0] * element_bytes % 16 != 0) {
    throw EmulationError("tensor map: base and strides are multiples of 16 bytes");
  }
  CUtensorMap map{};
  std::memcpy(&map, &tensor, sizeof tensor);
  return map;
}

class TensorCopies {
 public:
  explicit TensorCopies(SharedWindow& window) : window_(window) {}

  /// Starts a copy into block `rank`, whose bytes count on `barrier`.
  void start(int rank, std::uint32_t address, const CUtensorMap& map, TransactionBarriers::Barrier& barrier,
             const int (&corner)[3]) {
    Copy copy{.rank = rank, .address = address, .barrier = &barrier};
    std::memcpy(static_cast<void*>(&copy.tensor), &map, sizeof copy.tensor);
    if (copy.tensor.magic != TensorDescription::kMagic) throw EmulationError("TMA: no tensor map of this emulation");
    if (address % 128 != 0) throw EmulationError("TMA: a destination is a multiple of 128 bytes");
    if (!barrier.fenced) throw EmulationError("TMA: the mbarrier was not made visible with fence_barrier_init");
    for (int i = 0; i < 3; ++i) copy.corner[i] = corner[i];
    for (std::uint32_t at = 0; at < copy.bytes(); at += kPiece) window_.begin_fill(rank, address + at);
    copies_.push_back(copy);
  }

  std::size_t pending() const { return copies_.size(); }

  void finish(std::size_t which) {
    const Copy copy = copies_[which];
    copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(which));
    const TensorDescription& t = copy.tensor;
    if (Block::running().ended(copy.rank)) throw EmulationError("a copy arrives in a block that has ended");
    for (int row = 0; row < t.box[1] * t.box[2]; ++row) {
      const std::int64_t y = copy.corner[1] + row % t.box[1];
      const std::int64_t z = copy.corner[2] + row / t.box[1];
      const bool inside = y >= 0 && y < t.extent[1] && z >= 0 && z < t.extent[2];
      for (int column = 0; column < t.box[0]; ++column) {
        const std::int64_t x = copy.corner[0] + column;
        const std::uint32_t linear = copy.address + static_cast<std::uint32_t>(row * 128 + column * t.element_bytes);
        const std::uint32_t swizzled = linear ^ ((linear >> 7U & 7U) << 4U);
        std::uint8_t* const to = window_.at(copy.rank, swizzled, static_cast<std::uint32_t>(t.element_bytes));
        if (inside && x >= 0 && x < t.extent[0]) {
          std::memcpy(to, t.base + ((z * t.extent[1] + y) * t.extent[0] + x) * t.element_bytes, t.element_bytes);
        } else {
          std::memset(to, 0, t.element_bytes);
        }
      }
    }
    for (std::uint32_t at = 0; at < copy.bytes(); at += kPiece) window_.end_fill(copy.rank, copy.address + at);
    TransactionBarriers::land(*copy.barrier, copy.bytes());
  }

 private:
  struct Copy {
    int rank = 0;
    std::uint32_t address = 0;
    TransactionBarriers::Barrier* barrier = nullptr;
    TensorDescription tensor{};
    std::int64_t corner[3] = {};
    std::uint32_t bytes() const { return static_cast<std::uint32_t>(tensor.box[1] * tensor.box[2]) * 128; }
  };
  SharedWindow& window_;
  std::vector<Copy> copies_;
};

}  // namespace block_emulation::hopper
