// What strategies propose and what comes back. A bad candidate is data, never an exception.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace longrope::search {

/// How a candidate came to be; stored as an enum in the HDF5 store (values are part of the schema).
enum class Origin : std::int8_t { baseline = 0, seed = 1, mutation = 2, crossover = 3, model = 4, random = 5 };
inline constexpr const char* kOriginNames[] = {"baseline", "seed", "mutation", "crossover", "model", "random"};

/// Row status in the store (values are part of the schema).
enum class Status : std::int8_t { ok = 0, raced_out = 1, non_finite = 2, failed = 3 };
inline constexpr const char* kStatusNames[] = {"ok", "raced_out", "non_finite", "failed"};

struct Candidate {
  std::int64_t id = -1;          ///< row in the store, given by the driver: dense, in order of asking
  std::int32_t generation = -1;  ///< -1: baselines
  Origin origin = Origin::seed;
  std::int64_t parents[2] = {-1, -1};  ///< ids; -1: none
  std::vector<double> factors;         ///< λ [d/2], absolute
  std::int32_t start_tokens = 0;
  double attention_factor = 1.0;
};

/// Sum of NLL over the scored tokens of one (candidate, window).
struct WindowScore {
  double nll_nats = 0.0;
  std::int64_t tokens = 0;
};

/// The window scores of one candidate.
struct EvalResult {
  std::vector<WindowScore> windows;  ///< [W]; NaN nll_nats: not evaluated
  Status status = Status::ok;
  std::string reason;      ///< for a status other than ok
  double cost = 0.0;       ///< full evaluations
  double elapsed_s = 0.0;  ///< wall-clock seconds spent in this candidate's tasks
  /// [K] token-weighted perplexities, the main one first; NaN if bad, estimates if raced out.
  std::vector<double> objectives{std::numeric_limits<double>::quiet_NaN()};

  double first() const { return objectives.front(); }
  bool complete() const { return status == Status::ok; }
};

}  // namespace longrope::search
