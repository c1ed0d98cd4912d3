// What a strategy may search: bounds and grid of the factors, start tokens, attention factor.
#pragma once

#include <cstdint>
#include <vector>

#include "model/rope_geometry.hpp"

namespace longrope::search {

/// LongRoPE's n-hat set (paper, Table 4).
inline constexpr std::int32_t kPaperStartTokens[] = {0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 64, 128, 256};

struct Space {
  model::RopeGeometry geometry;
  double scale = 1.0;                ///< s = target length / L0, >= 1
  double attention_factor = 1.0;     ///< of every candidate
  bool search_start_tokens = false;  ///< over kPaperStartTokens
  std::int32_t start_tokens = 0;     ///< of every candidate when not searched
  /// Factors of the formulas at `scale`, [d/2]: what first populations are made of.
  std::vector<double> pi_factors;
  std::vector<double> ntk_factors;
  std::vector<double> yarn_factors;
  /// beta_fast, beta_slow of release-ga's own YaRN-like start: 32 and 1, or 128 and 2 for mistral.
  double release_beta_fast = 32.0;
  double release_beta_slow = 1.0;
};

}  // namespace longrope::search
