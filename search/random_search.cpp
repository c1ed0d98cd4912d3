#include "search/random_search.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "search/paper_moves.hpp"

namespace longrope::search {
namespace {

double log_uniform(double low, double high, RandomStream& random) {
  return std::min(high, low * std::pow(high / low, random.uniform()));
}

}  // namespace

Proposal RandomSearch::draw(RandomStream& random) const {
  const Space& s = space();
  Proposal proposal;
  proposal.origin = Origin::random;
  std::int64_t critical = s.critical_pair_used();
  if (s.critical == CriticalDimension::searched) {
    const std::int64_t first = s.critical_pair_of(10.0);
    critical = first + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(critical - first + 1)));
  }
  for (std::int64_t pair = 0; pair < s.geometry.pairs(); ++pair)
    proposal.factors.push_back(log_uniform(s.lower(pair, critical), s.upper(pair, critical), random));
  // Bounds do not decrease over the pairs, so sorted factors keep them.
  if (s.monotonicity != Monotonicity::free) std::sort(proposal.factors.begin(), proposal.factors.end());
  proposal.start_tokens =
      s.search_start_tokens ? kPaperStartTokens[random.below(std::size(kPaperStartTokens))] : s.start_tokens;
  proposal.attention_factor = s.search_attention_factor
                                  ? log_uniform(s.attention_factor_lower, s.attention_factor_upper, random)
                                  : s.attention_factor;
  return proposal;
}

std::vector<Proposal> RandomSearch::propose(std::int32_t generation, std::span<const Individual>) {
  if (kGeneration * generation >= most_candidates()) return {};
  std::vector<Proposal> population;
  if (generation == 0) {
    for (const PaperGenes& seed : PaperMoves(space()).seeds())
      population.push_back({Origin::seed, {-1, -1}, seed.factors, seed.start_tokens, seed.attention_factor});
  }
  for (std::size_t k = population.size(); k < static_cast<std::size_t>(kGeneration); ++k) {
    RandomStream random = stream(generation, k, Purpose::random);
    population.push_back(draw(random));
  }
  return population;
}

}  // namespace longrope::search
