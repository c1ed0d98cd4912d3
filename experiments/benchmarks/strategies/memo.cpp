#include "experiments/benchmarks/strategies/memo.hpp"

#include <stdexcept>

namespace longrope::bench {
namespace {

/// The bits that decide a table.
std::string key_of(const search::Candidate& candidate) {
  std::string key(reinterpret_cast<const char*>(candidate.factors.data()), candidate.factors.size() * sizeof(double));
  key.append(reinterpret_cast<const char*>(&candidate.start_tokens), sizeof candidate.start_tokens);
  key.append(reinterpret_cast<const char*>(&candidate.attention_factor), sizeof candidate.attention_factor);
  return key;
}

}  // namespace

std::vector<Score> MemoCache::score(std::span<const search::Candidate> candidates, const Evaluate& evaluate) {
  std::vector<std::string> keys;
  std::vector<search::Candidate> unknown;
  std::unordered_map<std::string, std::size_t> position;  // in `unknown`
  for (const search::Candidate& candidate : candidates) {
    keys.push_back(key_of(candidate));
    if (known_.count(keys.back()) == 0 && position.emplace(keys.back(), unknown.size()).second)
      unknown.push_back(candidate);
  }
  if (!unknown.empty()) {
    const std::vector<Score> scores = evaluate(unknown);
    if (scores.size() != unknown.size()) throw std::logic_error("MemoCache: another number of scores than candidates");
    for (const auto& [key, index] : position) known_.emplace(key, scores[index]);
  }
  hits_ += static_cast<std::int64_t>(candidates.size() - unknown.size());
  std::vector<Score> result;
  for (const std::string& key : keys) result.push_back(known_.at(key));
  return result;
}

}  // namespace longrope::bench
