// How much better one table is than another on the same windows. Differences of the same windows have a far smaller
// variance than perplexities; windows of one document are one cluster (Miller, arXiv 2411.00640).
#pragma once

#include <cstdint>
#include <span>

#include "model/windows.hpp"
#include "search/candidate.hpp"

namespace longrope::search {

struct PairedDifference {
  double nats_per_token = 0.0;  ///< mean NLL of a minus mean NLL of b, token-weighted
  double standard_error = 0.0;  ///< of it; NaN with fewer than two clusters
  std::int64_t clusters = 0;    ///< documents; windows when there is one document only
};

/// a, b, windows: [W], same windows. Precondition: tokens equal pairwise. NaN scores give NaN.
PairedDifference paired_difference(std::span<const WindowScore> a, std::span<const WindowScore> b,
                                   std::span<const model::Window> windows);

}  // namespace longrope::search
