#include "experiments/benchmarks/strategies/problem.hpp"

namespace longrope::bench {

std::vector<search::Candidate> formula_candidates(const search::Space& space) {
  std::vector<search::Candidate> candidates;
  for (const auto* factors : {&space.pi_factors, &space.ntk_factors, &space.yarn_factors}) {
    search::Candidate candidate;
    candidate.origin = search::Origin::baseline;
    candidate.factors = space.absolute(*factors);
    candidate.start_tokens = space.start_tokens;
    candidate.attention_factor = space.attention_factor;
    candidates.push_back(candidate);
  }
  return candidates;
}

}  // namespace longrope::bench
