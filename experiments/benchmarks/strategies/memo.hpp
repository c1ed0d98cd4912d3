// Evaluations that were made already, by the bits of the table: what is computed once is not computed again, in
// whatever run it comes up. Its cost is counted all the same.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "experiments/benchmarks/strategies/problem.hpp"

namespace longrope::bench {

/// One thread only.
class MemoCache {
 public:
  using Evaluate = std::function<std::vector<Score>(std::span<const search::Candidate>)>;

  /// Scores of candidates, in order: `evaluate` is called once for those not known yet, equal ones given once, and not
  /// at all when there are none. What it throws passes through and nothing is kept.
  std::vector<Score> score(std::span<const search::Candidate> candidates, const Evaluate& evaluate);

  std::int64_t hits() const { return hits_; }

 private:
  std::unordered_map<std::string, Score> known_;
  std::int64_t hits_ = 0;
};

}  // namespace longrope::bench
