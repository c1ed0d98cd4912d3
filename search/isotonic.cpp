#include "search/isotonic.hpp"

#include <cstddef>

namespace longrope::search {

std::vector<double> isotonic(std::span<const double> values) {
  struct Block {
    double mean;
    double size;
  };
  std::vector<Block> blocks;
  blocks.reserve(values.size());
  for (const double value : values) {
    blocks.push_back({value, 1.0});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean > blocks.back().mean) {
      const Block last = blocks.back();
      blocks.pop_back();
      Block& before = blocks.back();
      const double size = before.size + last.size;
      before.mean = (before.mean * before.size + last.mean * last.size) / size;
      before.size = size;
    }
  }
  std::vector<double> result;
  result.reserve(values.size());
  for (const Block& block : blocks) result.insert(result.end(), static_cast<std::size_t>(block.size), block.mean);
  return result;
}

}  // namespace longrope::search
