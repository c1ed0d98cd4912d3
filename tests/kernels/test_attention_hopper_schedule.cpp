// The Hopper kernel's division of work, without a GPU: every query tile once, every visible key in a visited tile.
#include <cstdint>
#include <vector>

#include "kernels/cuda/attention_hopper_schedule.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda::hopper;

TEST_CASE("blocks share all query tiles, each once", "[hopper]") {
  for (const std::int64_t row_tiles : {1, 3, 16}) {
    for (const int section_heads : {4, 8, 32}) {
      constexpr int kHeads = 32;
      const TileOrder order{row_tiles * kHeads, row_tiles, section_heads, 128};
      for (const std::int64_t blocks : {std::int64_t{1}, std::int64_t{7}, std::int64_t{132}, order.tiles}) {
        if (blocks > order.tiles) continue;
        std::vector<int> taken(static_cast<std::size_t>(order.tiles));
        for (std::int64_t block = 0; block < blocks; ++block) {
          std::int64_t last_row = -1;
          for (std::int64_t round = 0;; ++round) {
            const std::int64_t index = tile_index(round, block, blocks);
            if (index >= order.tiles) break;
            const QueryTile tile = order.at(index);
            REQUIRE(tile.first_row % 128 == 0);
            ++taken.at(static_cast<std::size_t>(tile.first_row / 128 * kHeads + tile.head));
            if (section_heads == kHeads) {  // one section: a block's tiles get shorter
              CHECK((last_row < 0 || tile.first_row <= last_row));
              last_row = tile.first_row;
            }
          }
        }
        CHECK(taken == std::vector<int>(taken.size(), 1));
      }
    }
  }
}

TEST_CASE("key tiles to visit and key tiles to mask, against every pair", "[hopper]") {
  for (const int keys_per_tile : {16, 48}) {
    for (const std::int64_t window : {0, 1, 15, 16, 17, 48, 49, 500}) {
      for (std::int64_t first = 0; first < 200; first += 7) {
        for (const std::int64_t rows : {1, 16, 64}) {
          const std::int64_t last = first + rows - 1;
          const KeyTiles visit = visible_key_tiles(first, last, window, keys_per_tile);
          const KeyTiles whole = whole_key_tiles(first, last, window, keys_per_tile);
          for (int tile = 0; tile * keys_per_tile <= last + 100; ++tile) {
            int seen = 0;
            for (std::int64_t p = first; p <= last; ++p) {
              for (std::int64_t key = tile * keys_per_tile; key < (tile + 1) * keys_per_tile; ++key) {
                if (key <= p && (window == 0 || p - key < window)) ++seen;
              }
            }
            const bool visited = tile >= visit.begin && tile < visit.end;
            const bool unmasked = tile >= whole.begin && tile < whole.end;
            // Visited: exactly the range from the first tile with a visible key to the last.
            if (visited != (seen > 0)) FAIL_CHECK("tile " << tile << " first " << first << " window " << window);
            if (unmasked != (seen == rows * keys_per_tile)) {
              FAIL_CHECK("mask of tile " << tile << " first " << first << " window " << window);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("many visible keys are taken one kv head after another, by blocks of one tile", "[hopper]") {
  const auto persistent = [](std::int64_t keys, std::int64_t window) {
    const AttentionSchedule schedule = schedule_for(keys, window, 78);
    CHECK(schedule.multiprocessors == 78);
    CHECK(schedule.section_kv_heads == (schedule.persistent ? 0 : 1));
    return schedule.persistent;
  };
  CHECK(persistent(1, 0));
  CHECK(persistent(65536, 0));
  CHECK(!persistent(65537, 0));
  CHECK(!persistent(1 << 20, 0));
  CHECK(persistent(1 << 20, 4096));  // a window bounds what is seen
  CHECK(!persistent(1 << 20, 100000));
  CHECK(!persistent(70000, 1 << 30));
}
