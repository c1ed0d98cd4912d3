#include "experiments/benchmarks/strategies/peers.hpp"

#include <algorithm>
#include <cmath>

namespace longrope::bench {

std::vector<std::string> peer_names() { return {"bobyqa", "pagmo-cmaes"}; }

std::optional<Peer> find_peer(const std::string& name) { return name == "bobyqa" ? bobyqa_peer() : pagmo_cmaes_peer(); }

std::vector<double> yarn_log_factors(const search::Space& space) {
  std::vector<double> z;
  for (std::size_t i = 0; i < space.yarn_factors.size(); ++i) {
    const auto pair = static_cast<std::int64_t>(i);
    z.push_back(std::log(std::clamp(space.yarn_factors[i], space.lower(pair), space.upper(pair))));
  }
  return z;
}

search::Candidate candidate_at(const search::Space& space, std::span<const double> z) {
  search::Candidate candidate;
  candidate.origin = search::Origin::model;
  candidate.generation = 0;
  candidate.start_tokens = space.start_tokens;
  candidate.attention_factor = space.attention_factor;
  for (std::size_t i = 0; i < z.size(); ++i) {
    const auto pair = static_cast<std::int64_t>(i);
    candidate.factors.push_back(std::clamp(std::exp(z[i]), space.lower(pair), space.upper(pair)));
  }
  candidate.factors = space.absolute(candidate.factors);
  return candidate;
}

std::vector<double> isotonic(std::span<const double> z) {
  struct Block {
    double sum;
    std::size_t size;
    double mean() const { return sum / static_cast<double>(size); }
  };
  std::vector<Block> blocks;
  for (const double value : z) {
    Block block{value, 1};
    while (!blocks.empty() && blocks.back().mean() > block.mean()) {
      block.sum += blocks.back().sum;
      block.size += blocks.back().size;
      blocks.pop_back();
    }
    blocks.push_back(block);
  }
  std::vector<double> result;
  for (const Block& block : blocks) result.insert(result.end(), block.size, block.mean());
  return result;
}

}  // namespace longrope::bench
