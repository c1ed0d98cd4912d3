// What strategies are run on: a space, a start, and an objective that is asked for whole candidates. The only things a
// run knows of a problem, be it a formula or a model.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "search/candidate.hpp"
#include "search/space.hpp"

namespace longrope::bench {

/// What an evaluation of one candidate gave.
struct Score {
  double objective = 0.0;  ///< perplexity, lower is better; NaN: bad
  double model_s = 0.0;    ///< seconds of the tasks that computed it, summed over threads; of an equal table: the same
};

/// A problem under one seed: analytic problems draw their optimum from it, models do not depend on it. Thread-safe.
class Instance {
 public:
  virtual ~Instance() = default;
  virtual const search::Space& space() const = 0;
  /// Objectives of whole evaluations, each of cost 1. Throws Interrupted when the bench is to stop.
  virtual std::vector<Score> score(std::span<const search::Candidate> candidates) = 0;
  /// Perplexity on text that no search sees; NaN where there is none. Throws as `score`.
  virtual std::vector<double> held_out(std::span<const search::Candidate> candidates) = 0;
  /// The lowest value there is; NaN: not known.
  virtual double optimum() const { return std::numeric_limits<double>::quiet_NaN(); }
};

class Problem {
 public:
  virtual ~Problem() = default;
  /// Names the results; no slash.
  virtual std::string name() const = 0;
  /// Everything that decides an objective value. Results of another one under the same name are not continued.
  virtual std::string identity() const = 0;
  virtual std::shared_ptr<Instance> instance(std::uint64_t seed) = 0;
};

/// PI, NTK and YaRN of a space as candidates, in that order, with the space's attention factor.
std::vector<search::Candidate> formula_candidates(const search::Space& space);

}  // namespace longrope::bench
