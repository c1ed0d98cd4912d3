// What a strategy may search, declared: bounds, order and grid of the factors, the critical dimension, start tokens,
// the attention factor, and the table that searched factors multiply. Strategies read it; they add nothing of their
// own.
#pragma once

#include <cstdint>
#include <vector>

#include "model/rope_geometry.hpp"

namespace longrope::search {

/// LongRoPE's n-hat set (paper, Table 4).
inline constexpr std::int32_t kPaperStartTokens[] = {0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 64, 128, 256};

/// Order of the factors over the pair index.
enum class Monotonicity : std::uint8_t {
  monotone,  ///< λ_i <= λ_{i+1}
  tolerant,  ///< λ_i - monotone_tolerance <= λ_{i+1}: published tables have drops of 0.01
  free,      ///< none
};

/// Bounds of a searched factor.
enum class FactorBounds : std::uint8_t {
  longrope,   ///< 1 to 1.25 s (paper, Table 4)
  longrope2,  ///< s to 2 s from the critical dimension on, 1 to s below it (arXiv 2502.20082, Algorithms 1 and 2)
};

/// Where LongRoPE2's critical dimension comes from.
enum class CriticalDimension : std::uint8_t {
  computed,  ///< ceil(d/2 log_theta(L0 / 2 pi)): the first pair whose period exceeds L0
  fixed,     ///< Space::critical_pair
  searched,  ///< from the pair with ten periods in L0 up to the computed one
};

struct Space {
  model::RopeGeometry geometry;
  double scale = 1.0;                ///< s of the searched factors, >= 1: target length / L0, or / the base's length
  std::vector<double> base_factors;  ///< [d/2], absolute λ that searched factors multiply; empty: 1
  Monotonicity monotonicity = Monotonicity::monotone;
  double monotone_tolerance = 0.01;  ///< in λ, for Monotonicity::tolerant
  FactorBounds bounds = FactorBounds::longrope;
  CriticalDimension critical = CriticalDimension::computed;
  std::int64_t critical_pair = 0;  ///< pair index, for CriticalDimension::fixed
  double attention_factor = 1.0;   ///< of every candidate when not searched, and where its search starts
  bool search_attention_factor = false;
  double attention_factor_lower = 0.5, attention_factor_upper = 2.0;  ///< when searched
  bool search_start_tokens = false;  ///< over kPaperStartTokens, on the elite only (paper-ga: a gene of its own)
  std::int32_t start_tokens = 0;     ///< of every candidate when not searched
  /// Factors of the formulas at `scale`, [d/2]: what first populations are made of.
  std::vector<double> pi_factors;
  std::vector<double> ntk_factors;
  std::vector<double> yarn_factors;
  /// beta_fast, beta_slow of release-ga's own YaRN-like start: 32 and 1, or 128 and 2 for mistral.
  double release_beta_fast = 32.0;
  double release_beta_slow = 1.0;

  /// Throws InputError: sizes, non-finite or non-positive factors, scale outside [1, 1e6], bounds upside down.
  void validate() const;

  /// ceil(d/2 ln(L0 / (2 pi periods)) / ln theta), clamped to [0, d/2]: the first pair that turns fewer than `periods`
  /// times within L0.
  std::int64_t critical_pair_of(double periods) const;
  /// The critical pair as this space says; where it is searched, the last of the range.
  std::int64_t critical_pair_used() const;
  /// Bounds of factor `pair` given the critical pair.
  double lower(std::int64_t pair, std::int64_t critical) const;
  double upper(std::int64_t pair, std::int64_t critical) const;
  double lower(std::int64_t pair) const { return lower(pair, critical_pair_used()); }
  double upper(std::int64_t pair) const { return upper(pair, critical_pair_used()); }

  /// λ_abs = base λ, or the same where there is no base. And back, to the bit for λ of the 0.01 grid and float32 λ:
  /// rounding must not put flat parts of a table out of order. [d/2]
  std::vector<double> absolute(const std::vector<double>& factors) const;
  std::vector<double> relative(const std::vector<double>& absolute_factors) const;
};

}  // namespace longrope::search
