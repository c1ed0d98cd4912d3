#include "search/needle_grid.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.hpp"

namespace longrope::search {
namespace {

/// numpy.linspace(0, 100, count)[i]
double spread(std::int64_t i, std::int64_t count) {
  if (count == 1) return 0.0;
  if (i == count - 1) return 100.0;
  return static_cast<double>(i) * (100.0 / static_cast<double>(count - 1));
}

template <typename T>
bool has_twice(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return std::adjacent_find(values.begin(), values.end()) != values.end();
}

}  // namespace

std::vector<double> linear_depths(std::int64_t count) {
  std::vector<double> depths;
  for (std::int64_t i = 0; i < count; ++i) depths.push_back(std::nearbyint(spread(i, count)));
  return depths;
}

std::vector<double> sigmoid_depths(std::int64_t count) {
  std::vector<double> depths;
  for (std::int64_t i = 0; i < count; ++i) {
    const double x = spread(i, count);
    const bool end = x == 0.0 || x == 100.0;
    depths.push_back(end ? x : std::nearbyint(100.0 / (1.0 + std::exp(-0.1 * (x - 50.0))) * 1000.0) / 1000.0);
  }
  return depths;
}

std::size_t NeedleGrid::cells() const {
  return lengths.size() * depths_percent.size() * static_cast<std::size_t>(trials);
}

model::NeedleCell NeedleGrid::cell(std::size_t index) const {
  const auto per_depth = static_cast<std::size_t>(trials), per_length = per_depth * depths_percent.size();
  return {lengths.at(index / per_length), depths_percent[index % per_length / per_depth],
          static_cast<std::int64_t>(index % per_depth)};
}

void NeedleGrid::validate() const {
  if (lengths.empty() || depths_percent.empty() || trials < 1)
    throw InputError("[needle] there must be at least one length, depth and trial but got none of one");
  if (has_twice(lengths) || has_twice(depths_percent))
    throw InputError("[needle] lengths and depths must differ but one is there twice");
  for (const double depth : depths_percent) {
    if (!(depth >= 0.0 && depth <= 100.0))
      throw InputError(fmt::format("[needle] a depth must be from 0 to 100 percent but got {}", depth));
  }
  const double all =
      static_cast<double>(lengths.size()) * static_cast<double>(depths_percent.size()) * static_cast<double>(trials);
  if (!(all <= static_cast<double>(kMaxCells)))
    throw InputError(fmt::format("[needle] there must be at most {} cells but got {}", kMaxCells, all));
}

}  // namespace longrope::search
