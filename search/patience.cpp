#include "search/patience.hpp"

#include <cmath>
#include <cstddef>
#include <limits>

namespace longrope::search {

bool Patience::exhausted(const Standing& standing) {
  const double values[] = {standing.elite_nats, standing.bound_nats, standing.frontier_deficit};
  reached_.resize(std::size(values), std::numeric_limits<double>::infinity());
  for (std::size_t i = 0; i < std::size(values); ++i) {
    if (!(values[i] <= reached_[i] - kLeastFall)) continue;  // NaN: no fall
    reached_[i] = values[i];
    moved_at_ = standing.cost;
  }
  return limit_ > 0.0 && standing.cost - moved_at_ >= limit_;
}

}  // namespace longrope::search
