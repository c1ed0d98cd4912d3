// Orderings of objective values. NaN sorts last; every sort and comparison in search uses these.
#pragma once

#include <cmath>

namespace longrope::search {

/// a < b with NaN greater than everything (a strict weak ordering).
inline bool less_nan_last(double a, double b) {
  if (std::isnan(a)) return false;
  if (std::isnan(b)) return true;
  return a < b;
}

}  // namespace longrope::search
