// Whether factors have the order that a space asks for.
#pragma once

#include <span>

#include "search/space.hpp"

namespace longrope::search {

/// monotone: λ_i <= λ_{i+1}; tolerant: λ_i - tolerance <= λ_{i+1}; free: always. factors: [d/2]
bool in_order(const Space& space, std::span<const double> factors);

}  // namespace longrope::search
