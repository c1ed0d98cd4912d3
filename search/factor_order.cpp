#include "search/factor_order.hpp"

namespace longrope::search {

bool in_order(const Space& space, std::span<const double> factors) {
  if (space.monotonicity == Monotonicity::free) return true;
  const double tolerance = space.monotonicity == Monotonicity::tolerant ? space.monotone_tolerance : 0.0;
  for (std::size_t i = 0; i + 1 < factors.size(); ++i) {
    if (!(factors[i] - tolerance <= factors[i + 1])) return false;
  }
  return true;
}

}  // namespace longrope::search
