// Where tiles of the Hopper attention kernel lie in shared memory, and the wgmma descriptors that read them: arithmetic
// that does not need a GPU. Host and device.
// Source: PTX ISA, "Asynchronous warpgroup-level matrix shared memory layout" (canonical layouts, descriptor format).
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.hpp"

namespace longrope::kernels::cuda::hopper {

// A tile [rows, head_dim] of bf16 lies in shared memory as head_dim / 64 panels [rows, 64], each written by one TMA box
// with 128-byte swizzle: row r of a panel is the 128 bytes at 128 r, its 16-byte pieces permuted by XOR with r % 8.
// Panels start at multiples of 1024 bytes, where the swizzle's pattern starts.
inline constexpr int kPanelColumns = 64;
inline constexpr std::uint32_t kRowBytes = 128;
inline constexpr std::uint32_t kSwizzleAtomBytes = 1024;  ///< 8 rows: the pattern's period
inline constexpr int kInstructionK = 16;                  ///< depth of one bf16 wgmma

LONGROPE_HOST_DEVICE constexpr std::uint32_t panel_bytes(int rows) {
  return static_cast<std::uint32_t>(rows) * kRowBytes;
}

LONGROPE_HOST_DEVICE constexpr std::uint32_t tile_bytes(int rows, int head_dim) {
  return panel_bytes(rows) * static_cast<std::uint32_t>(head_dim / kPanelColumns);
}

/// wgmma's description of an operand with 128-byte swizzle. Bits 0-13: address / 16; 16-29: leading offset / 16; 32-45:
/// stride offset / 16; 62-63: 1 for this swizzle. All in bytes, multiples of 16.
LONGROPE_HOST_DEVICE constexpr std::uint64_t descriptor(std::uint32_t address, std::uint32_t leading,
                                                        std::uint32_t stride) {
  return (static_cast<std::uint64_t>(1) << 62) | (static_cast<std::uint64_t>((stride & 0x3FFFFU) >> 4) << 32) |
         (static_cast<std::uint64_t>((leading & 0x3FFFFU) >> 4) << 16) |
         static_cast<std::uint64_t>((address & 0x3FFFFU) >> 4);
}

/// Q or K as a K-major operand (K runs along head_dim): its rows' k-th 16 columns. `address` is that of the first row
/// in the first panel, a multiple of 1024; groups of 8 rows are one atom apart; the leading offset is not used.
LONGROPE_HOST_DEVICE constexpr std::uint64_t row_descriptor(std::uint32_t address) {
  return descriptor(address, 16, kSwizzleAtomBytes);
}
/// What to add to row_descriptor for step k: the next 32 bytes of each row, then the next panel.
LONGROPE_HOST_DEVICE constexpr std::uint64_t row_step(int k, int panel_rows) {
  constexpr int steps = kPanelColumns / kInstructionK;
  return (static_cast<std::uint64_t>(k / steps) * panel_bytes(panel_rows) +
          static_cast<std::uint64_t>(k % steps) * 32) /
         16;
}

/// V as an N-major operand (N runs along head_dim, K along the keys): 16 keys, all panels from `address` on. The next
/// 64 columns are one panel away (leading offset), the next 8 keys one atom (stride offset).
LONGROPE_HOST_DEVICE constexpr std::uint64_t column_descriptor(std::uint32_t address, int panel_rows) {
  return descriptor(address, panel_bytes(panel_rows), kSwizzleAtomBytes);
}
/// What to add to column_descriptor for step k (16 keys each) and for the panel to begin with.
LONGROPE_HOST_DEVICE constexpr std::uint64_t column_step(int k, int panel, int panel_rows) {
  return (static_cast<std::uint64_t>(k) * kInstructionK * kRowBytes +
          static_cast<std::uint64_t>(panel) * panel_bytes(panel_rows)) /
         16;
}

}  // namespace longrope::kernels::cuda::hopper
