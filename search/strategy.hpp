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

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string name() const = 0;

  /// The next generation, at most `limit` candidates (limit >= 1); empty when the strategy has ended. Candidates carry
  /// ids first_id, first_id + 1, ...
  virtual std::vector<Candidate> ask(std::int64_t first_id, std::int64_t limit) = 0;

  /// Results of the candidates just asked, in order. objectives[i] is NaN for a bad candidate.
  virtual void tell(std::span<const Candidate> candidates, std::span<const double> objectives) = 0;

  /// State after a tell, as bytes; `load` of it on a strategy made with the same space and options restores it exactly.
  /// `load` throws InputError if the bytes are damaged.
  virtual std::string save() const = 0;
  virtual void load(const std::string& state) = 0;
};

struct StrategyOptions {
  std::uint64_t seed = 42;
  std::uint32_t stage = 0;  ///< index of the stage, part of every random key
};

/// Names that make_strategy accepts, for --help and error messages.
std::vector<std::string> strategy_names();

/// "paper-ga", "release-ga". Throws InputError for another name, listing these.
std::unique_ptr<Strategy> make_strategy(const std::string& name, const Space& space, const StrategyOptions& options);

}  // namespace longrope::search
