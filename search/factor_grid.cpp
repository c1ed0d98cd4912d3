#include "search/factor_grid.hpp"

#include <algorithm>
#include <cmath>

namespace longrope::search {

// A bound like 1.25 * 1.6 may come out a rounding error below the grid value it stands for.
FactorGrid::FactorGrid(double upper) : size_(static_cast<std::int64_t>(std::floor((upper - 1.0) * 100.0 + 1e-6)) + 1) {}

std::int64_t FactorGrid::first_at_least(double x) const {
  if (!(x > 1.0)) return 0;
  if (x > upper()) return size_;
  auto k = static_cast<std::int64_t>(std::ceil((x - 1.0) * 100.0));
  while (k > 0 && value(k - 1) >= x) --k;
  while (value(k) < x) ++k;
  return std::min(k, size_);
}

std::int64_t FactorGrid::last_at_most(double x) const {
  if (!(x >= 1.0)) return -1;
  if (x >= upper()) return size_ - 1;
  auto k = static_cast<std::int64_t>(std::floor((x - 1.0) * 100.0));
  while (value(k + 1) <= x) ++k;
  while (value(k) > x) --k;
  return k;
}

}  // namespace longrope::search
