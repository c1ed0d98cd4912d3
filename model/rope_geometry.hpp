// The rotary embedding of a checkpoint as it was trained: everything a scaling method needs to know of the model.
#pragma once

#include <cstdint>

namespace longrope::model {

/// The longest context that a config may speak of.
inline constexpr std::int64_t kMaxContextTokens = std::int64_t{1} << 32;

struct RopeGeometry {
  std::int64_t rotary_dim = 0;       ///< d, even; head_dim * partial_rotary_factor
  double theta = 10000.0;            ///< base
  std::int64_t original_length = 0;  ///< L0 in tokens: original_max_position_embeddings, else max_position_embeddings

  std::int64_t pairs() const { return rotary_dim / 2; }
  /// w_i = theta^(-2i/d), radians per token, 0 <= i < pairs().
  double plain_frequency(std::int64_t i) const;
};

}  // namespace longrope::model
