// The Hopper loss kernel's division of work, without a GPU: every row and vocabulary entry in one tile.
#include <cstdint>
#include <vector>

#include "kernels/cuda/loss_hopper_tiles.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda::hopper;

TEST_CASE("the loss kernel's tiles cover rows and vocabulary once", "[hopper]") {
  for (const std::int64_t rows : {1, 128, 256, 257, 2048, 2049, 8192}) {
    for (const std::int64_t vocabulary : {1, 256, 257, 32001}) {
      const LossOrder order(rows, vocabulary);
      const std::int64_t row_tiles = order.row_clusters * kLossCluster;
      REQUIRE(row_tiles * kLossTileRows >= rows);
      REQUIRE((row_tiles - kLossCluster) * kLossTileRows < rows);
      REQUIRE(order.column_tiles * kLossTileColumns >= vocabulary);
      REQUIRE((order.column_tiles - 1) * kLossTileColumns < vocabulary);
      std::vector<int> taken(static_cast<std::size_t>(row_tiles * order.column_tiles));
      for (std::int64_t index = 0; index < order.tiles(); ++index) {
        const LossTile tile = order.at(index);
        REQUIRE(tile.column_tile < order.column_tiles);
        for (int block = 0; block < kLossCluster; ++block) {
          ++taken.at(static_cast<std::size_t>(tile.column_tile * row_tiles + tile.row_tile + block));
        }
      }
      CHECK(taken == std::vector<int>(taken.size(), 1));
    }
  }
}

TEST_CASE("the loss kernel finishes a section of rows before the next", "[hopper]") {
  const LossOrder order(8192, 2560);
  std::int64_t last_section = 0;
  for (std::int64_t index = 0; index < order.tiles(); ++index) {
    const std::int64_t section = order.at(index).row_tile / (LossOrder::kSectionClusters * kLossCluster);
    CHECK(section >= last_section);
    last_section = section;
  }
  CHECK(last_section == 3);
}
