// The work of the Hopper attention kernel and its order: which query tile a block takes, which key tiles that sees, and
// how many blocks share all tiles. Arithmetic that does not need a GPU. Host and device.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/host_device.hpp"

namespace longrope::kernels::cuda::hopper {

/// One block's work: `rows_per_tile` query rows of one head.
struct QueryTile {
  std::int64_t first_row = 0;
  int head = 0;
};

/// The order of all query tiles: sections of `section_heads` heads; in a section the rows that see most keys come
/// first, so that short tiles fill the end; for one row range all heads of the section, so that neighbours share keys
/// in L2.
struct TileOrder {
  std::int64_t tiles = 0;  ///< in all
  std::int64_t row_tiles = 0;
  int section_heads = 1;  ///< divides heads
  int rows_per_tile = 0;

  LONGROPE_HOST_DEVICE constexpr QueryTile at(std::int64_t index) const {
    const std::int64_t per_section = row_tiles * section_heads;
    const std::int64_t section = index / per_section;
    const std::int64_t rest = index - section * per_section;
    const std::int64_t row_tile = row_tiles - 1 - rest / section_heads;
    return {row_tile * rows_per_tile, static_cast<int>(section * section_heads + rest % section_heads)};
  }
};

/// The index in TileOrder of a block's round-th tile when `blocks` blocks share them all: odd rounds run backwards, so
/// that no block always gets the longest tile of a round. May be past the end in the last round.
LONGROPE_HOST_DEVICE constexpr std::int64_t tile_index(std::int64_t round, std::int64_t block, std::int64_t blocks) {
  return round * blocks + ((round & 1) != 0 ? blocks - 1 - block : block);
}

/// Key tiles [begin, end) that hold a key which some query at positions [first, last] sees; window 0: none.
struct KeyTiles {
  int begin = 0;
  int end = 0;
};
LONGROPE_HOST_DEVICE constexpr KeyTiles visible_key_tiles(std::int64_t first, std::int64_t last, std::int64_t window,
                                                          int keys_per_tile) {
  const std::int64_t oldest = window > 0 && first >= window ? first - window + 1 : 0;
  return {static_cast<int>(oldest / keys_per_tile), static_cast<int>(last / keys_per_tile) + 1};
}

/// Key tiles [begin, end) of which every query at positions [first, last] sees every key: they need no mask. May be
/// empty (begin >= end).
LONGROPE_HOST_DEVICE constexpr KeyTiles whole_key_tiles(std::int64_t first, std::int64_t last, std::int64_t window,
                                                        int keys_per_tile) {
  const std::int64_t begin = window > 0 && last >= window ? (last - window) / keys_per_tile + 1 : 0;
  return {static_cast<int>(begin), static_cast<int>((first + 1) / keys_per_tile)};
}

/// How tiles go to multiprocessors.
struct AttentionSchedule {
  bool persistent = true;    ///< one block per multiprocessor takes tile after tile; else one block per tile
  int section_kv_heads = 0;  ///< kv heads whose tiles run together, 0: all (see TileOrder); divides kv_heads
  int multiprocessors = 132;
};

/// Where a query sees up to 64k keys (`window` of them at most; 0: all) persistent blocks, which balance the tiles and
/// start no block anew; beyond, one kv head after another, whose K and V then stay in L2 (64k keys of head_dim 128 are
/// 32 MiB, an H200's L2 holds 50), and a block per tile, which the device hands out as blocks end. TFLOP/s of the one
/// and of the other on an H200, head_dim 128: 689 and 670 with 8k keys, 655 and 652 with 32k, 643 and 657 with 128k;
/// head_dim 64: 489 and 474, 566 and 515, 516 and 523.
inline AttentionSchedule schedule_for(std::int64_t keys, std::int64_t window, int multiprocessors) {
  constexpr std::int64_t kFewKeys = 65536;
  const bool few = (window > 0 ? std::min(window, keys) : keys) <= kFewKeys;
  return {few, few ? 0 : 1, multiprocessors};
}

}  // namespace longrope::kernels::cuda::hopper
