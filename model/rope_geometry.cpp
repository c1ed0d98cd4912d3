#include "model/rope_geometry.hpp"

#include <cmath>

namespace longrope::model {

double RopeGeometry::plain_frequency(std::int64_t i) const {
  return std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
}

}  // namespace longrope::model
