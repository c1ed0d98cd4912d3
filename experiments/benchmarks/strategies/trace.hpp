// What one run is remembered by: best so far against cost, and the tables that held-out text is asked about.
#pragma once

#include <optional>
#include <vector>

#include "search/candidate.hpp"

namespace longrope::bench {

inline constexpr double kCheckpoint = 100.0;  ///< full evaluations: where the issue's claims are looked up

class Trace {
 public:
  /// `cost`: of this evaluation, in full evaluations. `whole`: all windows were scored; an estimate is never the best.
  void add(const search::Candidate& candidate, double objective, double cost, bool whole = true);

  const std::vector<double>& cost() const { return cost_; }  ///< summed up, one an evaluation
  const std::vector<double>& best() const { return best_; }  ///< best so far; NaN: none yet
  const std::optional<search::Candidate>& final_best() const { return final_best_; }
  /// Best of the evaluations within kCheckpoint of cost.
  const std::optional<search::Candidate>& checkpoint_best() const { return checkpoint_best_; }

 private:
  std::vector<double> cost_, best_;
  std::optional<search::Candidate> final_best_, checkpoint_best_;
};

}  // namespace longrope::bench
