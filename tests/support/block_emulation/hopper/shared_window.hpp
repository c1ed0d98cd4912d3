// The shared memory of emulated Hopper blocks as wgmma and TMA see it: bytes at 32-bit addresses, and who is at work on
// each 16-byte piece, so that a copy into a tile that a product still reads is an error whatever the timing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/block_emulation/block.hpp"

namespace longrope::kernels::cuda::hopper {
/// The running block's dynamic shared memory, under the name in which Hopper's kernels declare it.
alignas(1024) inline thread_local std::uint8_t dynamic_shared[232448];
}  // namespace longrope::kernels::cuda::hopper

namespace block_emulation::hopper {

using longrope::kernels::cuda::hopper::dynamic_shared;

/// Address of dynamic_shared: what the system and static variables take comes first. No multiple of a swizzle's period.
inline constexpr std::uint32_t kDynamicAddress = 1024 + 224;
inline constexpr std::uint32_t kPiece = 16;

inline std::uint32_t shared_address(const void* pointer) {
  const auto* byte = static_cast<const std::uint8_t*>(pointer);
  if (byte < dynamic_shared || byte >= dynamic_shared + sizeof dynamic_shared) {
    throw EmulationError("shared_address: only dynamic shared memory has an address here");
  }
  return kDynamicAddress + static_cast<std::uint32_t>(byte - dynamic_shared);
}

class SharedWindow {
 public:
  SharedWindow(int blocks, std::uint32_t dynamic_bytes) : end_(kDynamicAddress + dynamic_bytes) {
    if (dynamic_bytes > sizeof dynamic_shared) throw EmulationError("a block has 227 KiB of shared memory");
    std::memset(dynamic_shared, 0xff, sizeof dynamic_shared);
    images_.assign(static_cast<std::size_t>(blocks), std::vector<std::uint8_t>(blocks > 1 ? dynamic_bytes : 0, 0xff));
    pieces_.assign(static_cast<std::size_t>(blocks), std::vector<Piece>(end_ / kPiece + 1));
  }

  /// Makes dynamic_shared that of another block of the cluster.
  void enter(int rank) {
    if (rank == current_) return;
    std::copy_n(dynamic_shared, images_[current_].size(), images_[current_].begin());
    std::copy(images_[rank].begin(), images_[rank].end(), dynamic_shared);
    current_ = rank;
  }

  std::uint8_t* at(int rank, std::uint32_t address, std::uint32_t bytes) {
    if (address < kDynamicAddress || address + bytes > end_) {
      throw EmulationError("shared memory address " + std::to_string(address) + " is outside " +
                           std::to_string(kDynamicAddress) + " to " + std::to_string(end_));
    }
    return (rank == current_ ? dynamic_shared : images_[rank].data()) + (address - kDynamicAddress);
  }

  /// A copy fills this piece from now on: it holds NaN until then.
  void begin_fill(int rank, std::uint32_t address) {
    std::memset(at(rank, address, kPiece), 0xff, kPiece);
    Piece& piece = pieces_[rank][address / kPiece];
    if (piece.filling) throw EmulationError("two copies fill the same shared memory " + place(rank, address));
    if (piece.readers > 0) throw EmulationError("a copy fills what a wgmma still reads: " + place(rank, address));
    piece.filling = true;
  }
  void end_fill(int rank, std::uint32_t address) { pieces_[rank][address / kPiece].filling = false; }

  /// A product reads this piece at some time until end_read.
  void begin_read(int rank, std::uint32_t address) {
    at(rank, address, kPiece);
    Piece& piece = pieces_[rank][address / kPiece];
    if (piece.filling) throw EmulationError("a wgmma reads what a copy still fills: " + place(rank, address));
    ++piece.readers;
  }
  void end_read(int rank, std::uint32_t address) { --pieces_[rank][address / kPiece].readers; }

 private:
  struct Piece {
    bool filling = false;
    int readers = 0;
  };
  static std::string place(int rank, std::uint32_t address) {
    return "byte " + std::to_string(address - kDynamicAddress) + " of dynamic shared memory, block " +
           std::to_string(rank) + " of the cluster";
  }

  std::uint32_t end_;
  int current_ = 0;
  std::vector<std::vector<std::uint8_t>> images_;  ///< of the blocks that do not run just now
  std::vector<std::vector<Piece>> pieces_;
};

}  // namespace block_emulation::hopper
