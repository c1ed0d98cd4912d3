// FP8 attention's arithmetic that does not need a GPU: the order of V's keys, tiles in shared memory, the workspace.
// Host and device. Source: PTX ISA, "Asynchronous warpgroup-level matrix", fragments of m64nNk32 and of its D.
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.hpp"

namespace longrope::kernels::cuda::fp8 {

inline constexpr int kTileKeys = 128;        ///< keys of a tile; V's rows are padded to a multiple of them
inline constexpr int kInstructionK = 32;     ///< depth of one e4m3 wgmma: 32 bytes of a row
inline constexpr int kColumnGroup = 8;       ///< bf16 of one 16-byte load
inline constexpr int kMostColumns = 128;     ///< of a head
inline constexpr int kStatisticsKeys = 512;  ///< keys that one block sums

/// What one column of K holds: its sum, smallest and largest value.
inline constexpr int kColumnStatistics = 3;

// Thread q = t % 4 of a row has of the scores' accumulator columns 8 j + 2 q + c (c 0, 1), and A wants of it columns
// 4 q + i (i 0 to 3) and 16 + 4 q + i of every 32. A product's sum does not care for the order of its terms: V's keys
// are written so that what a thread has is what A wants, and no weight moves between threads.

/// Where in its row of the transposed V a key of the tile is written.
LONGROPE_HOST_DEVICE constexpr int value_position(int key) {
  return key / 16 * 16 + key % 8 / 2 * 4 + key % 16 / 8 * 2 + key % 2;
}

/// Bits 0-13 of a descriptor count 16 bytes; a row's next 32 e4m3 are 32 bytes on, within the one panel.
LONGROPE_HOST_DEVICE constexpr std::uint64_t k_step(int k) {
  return static_cast<std::uint64_t>(k) * kInstructionK / 16;
}

/// What the kernels are made for.
constexpr bool has_head_dim(std::int64_t head_dim) { return head_dim == 64 || head_dim == 96 || head_dim == 128; }

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// What of a problem the workspace depends on; `keys` are those that some row sees.
struct WorkspaceShape {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t rows = 0;
  std::int64_t keys = 0;
};

/// Keys that `rows` rows from `first_position` on see; window 0: all before them.
constexpr std::int64_t visible_keys(std::int64_t first_position, std::int64_t rows, std::int64_t window) {
  const std::int64_t before = window > 0 && window <= first_position ? window - 1 : first_position;
  return before + rows;
}

/// Offsets in bytes, multiples of 256.
struct Workspace {
  std::int64_t q = 0;           ///< e4m3 [rows, heads, head_dim]
  std::int64_t k = 0;           ///< e4m3 [keys, kv_heads, head_dim], the mean subtracted
  std::int64_t v = 0;           ///< e4m3 [kv_heads, head_dim, padded keys], see value_position
  std::int64_t q_scales = 0;    ///< float [rows, heads]
  std::int64_t statistics = 0;  ///< float [statistics blocks, kv_heads, kColumnStatistics, head_dim]
  std::int64_t v_largest = 0;   ///< float [statistics blocks, kv_heads]
  std::int64_t mean = 0;        ///< float [kv_heads, head_dim]
  std::int64_t kv_scales = 0;   ///< float [kv_heads, 2]: of K, of V
  std::int64_t bytes = 0;       ///< of all

  explicit constexpr Workspace(const WorkspaceShape& s) {
    const std::int64_t blocks = (s.keys + kStatisticsKeys - 1) / kStatisticsKeys;
    constexpr std::int64_t kFloat = 4;
    const auto place = [this](std::int64_t size) {
      const std::int64_t offset = bytes;
      bytes += round_up(size, 256);
      return offset;
    };
    q = place(s.rows * s.heads * s.head_dim);
    k = place(s.keys * s.kv_heads * s.head_dim);
    v = place(s.kv_heads * s.head_dim * round_up(s.keys, kTileKeys));
    q_scales = place(s.rows * s.heads * kFloat);
    statistics = place(blocks * s.kv_heads * kColumnStatistics * s.head_dim * kFloat);
    v_largest = place(blocks * s.kv_heads * kFloat);
    mean = place(s.kv_heads * s.head_dim * kFloat);
    kv_scales = place(s.kv_heads * 2 * kFloat);
  }
};

}  // namespace longrope::kernels::cuda::fp8
