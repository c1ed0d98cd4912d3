// One (problem, strategy, seed): from an empty history to a spent budget.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "experiments/benchmarks/strategies/problem.hpp"
#include "experiments/benchmarks/strategies/trace.hpp"

namespace longrope::bench {

/// What identifies a run in the output.
struct RunKey {
  std::string problem, strategy;
  std::uint64_t seed = 1;
  std::int64_t budget = 0;           ///< full evaluations
  std::string through = "ask-tell";  ///< or "driver", "driver, racing P": search_driver with a store
  bool operator==(const RunKey&) const = default;
};

struct RunRecord {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  RunKey key;
  std::string identity;                                   ///< of the problem
  std::string setup;                                      ///< of a peer
  std::vector<double> cost, best;                         ///< [evaluations], see Trace
  std::vector<double> final_factors, checkpoint_factors;  ///< λ [d/2] of the best ones; empty: none
  double optimum = kNone;
  double pi = kNone, ntk = kNone, yarn = kNone;  ///< objective
  double held_out_pi = kNone, held_out_ntk = kNone, held_out_yarn = kNone;
  double held_out_final = kNone, held_out_checkpoint = kNone;
  double overhead_cpu_s = kNone, overhead_wall_s = kNone;  ///< everything but evaluations; NaN: not measured
  double model_s = 0.0;                                    ///< of evaluations, summed over threads (Score::model_s)
  double elapsed_s = 0.0;
  std::int64_t threads = 1;  ///< that evaluations ran on
};

/// Runs a strategy of search/ through ask and tell, or a peer, until the budget is spent or it has ended.
/// Throws InputError if the strategy refuses the space, Interrupted when the bench is to stop.
RunRecord run_strategy(const RunKey& key, Instance& instance, const std::atomic<bool>& stop);

/// Fills what a record says of the instance: optimum, formulas, held-out values.
void describe_instance(Instance& instance, const Trace& trace, RunRecord& record);

}  // namespace longrope::bench
