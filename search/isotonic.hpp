// Isotonic regression by pool adjacent violators (Barlow, Bartholomew, Bremner, Brunk, 1972): the non-decreasing
// sequence nearest to a given one.
#pragma once

#include <span>
#include <vector>

namespace longrope::search {

/// argmin sum (x_i - values_i)^2 over x_0 <= x_1 <= ... in O(n). Precondition: values are finite.
std::vector<double> isotonic(std::span<const double> values);

}  // namespace longrope::search
