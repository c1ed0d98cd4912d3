// A search strategy: ask for candidates, tell their results. No input or output, no clock, no global state: given the
// same seed and the same results it proposes the same candidates, and a restored one continues exactly.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "search/candidate.hpp"
#include "search/space.hpp"

namespace longrope::search {

/// What came back for one candidate.
struct Outcome {
  Outcome() = default;
  /// One objective, evaluated whole; NaN: bad.
  Outcome(double objective) : objectives{objective} {}  // NOLINT(google-explicit-constructor)

  std::vector<double> objectives;  ///< [K], perplexities, lower is better; NaN: bad
  /// Dropped before all windows were scored: its objectives are estimates, worse than the elite's with confidence.
  bool raced_out = false;

  double first() const { return objectives.front(); }
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string name() const = 0;

  /// The next candidates, at most `limit` (limit >= 1) and all of one generation; empty when the strategy has ended.
  /// Candidates carry ids first_id, first_id + 1, ... and their generation. A generation larger than `limit` goes on
  /// with the next ask, so where a budget cuts it does not change what the search proposes. Throws std::logic_error
  /// when the candidates of the last ask were not told.
  virtual std::vector<Candidate> ask(std::int64_t first_id, std::int64_t limit) = 0;

  /// Results of the candidates just asked, in order. Throws std::logic_error for other candidates than those.
  virtual void tell(std::span<const Candidate> candidates, std::span<const Outcome> outcomes) = 0;

  /// State after a tell, as text: counters and a digest of what was told. The history itself is not in it, for the
  /// store has it already.
  virtual std::string save() const = 0;

  /// Restores a strategy exactly as it was when it saved `state`: to be called on a fresh one made with the same space
  /// and options. `candidates` and `outcomes`: all that were told to it until then, in order (no baselines). Throws
  /// InputError if the state is damaged, of another strategy, or not of this history.
  virtual void load(const std::string& state, std::span<const Candidate> candidates,
                    std::span<const Outcome> outcomes) = 0;
};

struct StrategyOptions {
  std::uint64_t seed = 42;
  std::uint32_t stage = 0;  ///< index of the stage, below 65536, part of every random key
  /// Full evaluations the job may spend, for strategies that schedule phases by it; part of what they propose.
  std::int64_t budget = 1344;
  std::size_t objectives = 1;  ///< K
};

/// What a search runs unless told otherwise.
inline constexpr const char* kDefaultStrategy = "auto";

/// Names that make_strategy accepts, for --help and error messages.
std::vector<std::string> strategy_names();

/// A strategy by one of strategy_names(). Throws InputError for another name, listing these, and for a space that
/// cannot be searched.
std::unique_ptr<Strategy> make_strategy(const std::string& name, const Space& space, const StrategyOptions& options);

}  // namespace longrope::search
