#include "experiments/benchmarks/strategies/trace.hpp"

#include <cmath>
#include <limits>

#include "search/ordering.hpp"

namespace longrope::bench {

void Trace::add(const search::Candidate& candidate, double objective, double cost, bool whole) {
  constexpr double kRounding = 1e-9;  // sums of shares
  const double spent = cost + (cost_.empty() ? 0.0 : cost_.back());
  double best = best_.empty() ? std::numeric_limits<double>::quiet_NaN() : best_.back();
  if (whole && std::isfinite(objective) && search::less_nan_last(objective, best)) {
    best = objective;
    final_best_ = candidate;
    if (spent <= kCheckpoint + kRounding) checkpoint_best_ = candidate;
  }
  cost_.push_back(spent);
  best_.push_back(best);
}

}  // namespace longrope::bench
