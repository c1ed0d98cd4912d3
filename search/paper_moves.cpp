#include "search/paper_moves.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "search/factor_order.hpp"

namespace longrope::search {

PaperMoves::PaperMoves(const Space& space)
    : space_(space),
      grid_((space.bounds == FactorBounds::longrope ? 1.25 : 2.0) * space.scale),
      search_critical_(space.bounds == FactorBounds::longrope2 && space.critical == CriticalDimension::searched),
      last_critical_(space.critical_pair_used()) {
  first_critical_ = search_critical_ ? space.critical_pair_of(10.0) : last_critical_;
}

std::int64_t PaperMoves::critical_of(const std::vector<double>& factors) const {
  std::int64_t pair = first_critical_;
  while (pair < last_critical_ && factors[static_cast<std::size_t>(pair)] < space_.scale) ++pair;
  return pair;
}

void PaperMoves::move_into_bounds(std::vector<double>& factors, std::int64_t critical) const {
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const auto pair = static_cast<std::int64_t>(i);
    factors[i] = std::clamp(factors[i], space_.lower(pair, critical), space_.upper(pair, critical));
  }
}

std::vector<PaperGenes> PaperMoves::seeds() const {
  const std::int32_t start_tokens = space_.search_start_tokens ? 0 : space_.start_tokens;
  std::vector<PaperGenes> genes;
  for (const auto* factors : {&space_.pi_factors, &space_.ntk_factors, &space_.yarn_factors}) {
    genes.push_back({*factors, start_tokens, space_.attention_factor});
    if (space_.bounds == FactorBounds::longrope2) {
      move_into_bounds(genes.back().factors, critical_of(genes.back().factors));
    }
  }
  return genes;
}

void PaperMoves::mutate_factors(std::vector<double>& factors, RandomStream& random) const {
  const std::int64_t critical = critical_of(factors);
  const bool free = space_.monotonicity == Monotonicity::free;
  const double tolerance = space_.monotonicity == Monotonicity::tolerant ? space_.monotone_tolerance : 0.0;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    if (!(random.uniform() < kProbability)) continue;
    const auto pair = static_cast<std::int64_t>(i);
    std::int64_t low = grid_.first_at_least(space_.lower(pair, critical));
    std::int64_t high = FactorGrid(space_.upper(pair, critical)).size() - 1;
    // Between the neighbours, the left one as it is now.
    if (!free && i > 0) low = std::max(low, grid_.first_at_least(factors[i - 1] - tolerance));
    if (!free && i + 1 < factors.size()) high = std::min(high, grid_.last_at_most(factors[i + 1] + tolerance));
    if (low > high) continue;  // neighbours off the grid with no grid value between them
    factors[i] =
        FactorGrid::value(low + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1))));
  }
}

PaperGenes PaperMoves::mutate(const PaperGenes& parent, const Seen& seen, RandomStream& random) const {
  PaperGenes child;
  for (int attempt = 0; attempt < kDuplicateTries; ++attempt) {
    child = parent;
    if (search_critical_ && random.uniform() < kProbability) {
      const auto choices = static_cast<std::uint64_t>(last_critical_ - first_critical_ + 1);
      move_into_bounds(child.factors, first_critical_ + static_cast<std::int64_t>(random.below(choices)));
    }
    mutate_factors(child.factors, random);
    if (space_.search_start_tokens && random.uniform() < kProbability) {
      child.start_tokens = kPaperStartTokens[random.below(std::size(kPaperStartTokens))];
    }
    if (space_.search_attention_factor && random.uniform() < kProbability) {
      child.attention_factor =
          space_.attention_factor_lower *
          std::pow(space_.attention_factor_upper / space_.attention_factor_lower, random.uniform());
    }
    if (!seen.contains(child)) break;
  }
  return child;
}

bool PaperMoves::cross(const PaperGenes& a, const PaperGenes& b, const Seen& seen, RandomStream& random,
                       PaperGenes& child) const {
  for (int attempt = 0; attempt < kCrossoverTries; ++attempt) {
    child = a;
    for (std::size_t i = 0; i < child.factors.size(); ++i) {
      if (random.uniform() < 0.5) child.factors[i] = b.factors[i];
    }
    if (space_.search_start_tokens && random.uniform() < 0.5) child.start_tokens = b.start_tokens;
    if (space_.search_attention_factor && random.uniform() < 0.5) child.attention_factor = b.attention_factor;
    if (search_critical_) move_into_bounds(child.factors, critical_of(child.factors));
    if (in_order(space_, child.factors) && !seen.contains(child)) return true;
  }
  return false;
}

}  // namespace longrope::search
