// What stands where a number is not known: not measured, not finite, none yet.
#pragma once

#include <limits>

namespace longrope::search {

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace longrope::search
