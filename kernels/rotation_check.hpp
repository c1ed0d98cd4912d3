// Preconditions of Backend::make_rotation_table, the same on every backend.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "kernels/check.hpp"
#include "kernels/rotation.hpp"

namespace longrope::kernels {

/// Throws InputError naming the first frequency that is not finite.
inline void require_finite(const std::vector<double>& frequencies, const char* name) {
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    if (std::isfinite(frequencies[i])) continue;
    throw InputError("[rotation] " + std::string(name) + "[" + std::to_string(i) + "] must be finite but got " +
                     std::to_string(frequencies[i]));
  }
}

/// Throws InputError unless the spec is one a rotation table can be made of.
inline void require_rotation(const RotationSpec& spec, std::int64_t tokens) {
  require(tokens >= 0, "rotation", "tokens must not be negative", tokens);
  require(spec.start_tokens >= 0, "rotation", "start_tokens must not be negative", spec.start_tokens);
  require_finite(spec.inv_freq, "inv_freq");
  if (!std::isfinite(spec.attention_factor)) {
    throw InputError("[rotation] attention_factor must be finite but got " + std::to_string(spec.attention_factor));
  }
  if (spec.start_tokens == 0) return;
  require_finite(spec.leading_inv_freq, "leading_inv_freq");
  require(spec.leading_inv_freq.size() == spec.inv_freq.size(), "rotation",
          "leading_inv_freq must have as many elements as inv_freq when start_tokens is not 0",
          static_cast<std::int64_t>(spec.leading_inv_freq.size()));
}

}  // namespace longrope::kernels
