// When a search has stopped moving.
#pragma once

#include <vector>

namespace longrope::search {

/// What can move, after a generation. Each falls or stays as the search goes on; NaN: not known.
struct Standing {
  double cost = 0.0;              ///< of the strategy so far, full evaluations
  double elite_nats = 0.0;        ///< ln PPL of the best candidate
  double bound_nats = 0.0;        ///< its mean NLL minus the best baseline's, plus its standard error times 2
  double frontier_deficit = 0.0;  ///< minus the hypervolume of the frontier, with several objectives
};

class Patience {
 public:
  /// A fall by less than this, since the last that counted, is none: nats per token (for ln PPL, a hundredth of a
  /// percent).
  static constexpr double kLeastFall = 1e-4;

  /// full_evaluations: cost without any fall after which to stop; 0: never.
  explicit Patience(double full_evaluations) : limit_(full_evaluations) {}

  /// Takes note of a generation, in order; true when it is time to stop.
  bool exhausted(const Standing& standing);

 private:
  double limit_;
  double moved_at_ = 0.0;  ///< cost of the last fall
  std::vector<double> reached_;
};

}  // namespace longrope::search
