// The work of the Hopper loss kernel and its order: which rows and which vocabulary entries a cluster multiplies.
// Arithmetic that does not need a GPU. Host and device.
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.hpp"

namespace longrope::kernels::cuda::hopper {

inline constexpr int kLossTileRows = 128;     ///< of one block
inline constexpr int kLossTileColumns = 256;  ///< vocabulary entries of a tile
inline constexpr int kLossCluster = 2;        ///< blocks with consecutive rows and the same vocabulary entries

/// One cluster's work, in tiles.
struct LossTile {
  std::int64_t row_tile = 0;  ///< of the cluster's first block
  std::int64_t column_tile = 0;
};

/// All tiles, sections of kSectionClusters x kLossCluster row tiles one after another; in a section vocabulary tile by
/// vocabulary tile, all its rows: the section's rows (16 MiB at 4096 columns) stay in L2 and the weights stream by.
struct LossOrder {
  static constexpr std::int64_t kSectionClusters = 8;
  std::int64_t row_clusters = 0;
  std::int64_t column_tiles = 0;

  LONGROPE_HOST_DEVICE constexpr LossOrder(std::int64_t rows, std::int64_t vocabulary)
      : row_clusters((rows + kLossCluster * kLossTileRows - 1) / (kLossCluster * kLossTileRows)),
        column_tiles((vocabulary + kLossTileColumns - 1) / kLossTileColumns) {}

  LONGROPE_HOST_DEVICE constexpr std::int64_t tiles() const { return row_clusters * column_tiles; }

  LONGROPE_HOST_DEVICE constexpr LossTile at(std::int64_t index) const {
    const std::int64_t section = index / (kSectionClusters * column_tiles);
    const std::int64_t rest = index - section * kSectionClusters * column_tiles;
    const std::int64_t first = section * kSectionClusters;
    const std::int64_t left = row_clusters - first;
    const std::int64_t size = left < kSectionClusters ? left : kSectionClusters;
    return {(first + rest % size) * kLossCluster, rest / size};
  }
};

}  // namespace longrope::kernels::cuda::hopper
