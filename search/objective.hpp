// What a search minimises: perplexities at one or more lengths. Each objective has windows of its own, all in one list:
// those of the first objective, then those of the second, the same number each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/documents.hpp"
#include "model/windows.hpp"
#include "search/candidate.hpp"

namespace longrope::search {

struct Objective {
  enum class Kind : std::uint8_t { perplexity };
  Kind kind = Kind::perplexity;
  std::int64_t length = 0;  ///< tokens of its windows

  /// "ppl@2048".
  std::string to_string() const;
  /// "ppl", or "ppl@N" with 2 <= N <= target_length (N defaults to it). Throws InputError: another kind (listing them),
  /// another length.
  static Objective parse(const std::string& text, std::int64_t target_length);

  bool operator==(const Objective&) const = default;
};

/// Comma-separated objectives, the main one first. Throws InputError as Objective::parse, and for one given twice.
std::vector<Objective> parse_objectives(const std::string& text, std::int64_t target_length);
/// "ppl@2048,ppl@256".
std::string to_string(std::span<const Objective> objectives);
/// How many objectives such a text names, of whatever kind.
std::size_t count_objectives(const std::string& text);

/// `count` windows for each objective, one after the other: [K * count]. Throws InputError as model::make_windows.
std::vector<model::Window> make_objective_windows(const model::Corpus& corpus, const model::Protocol& protocol,
                                                  std::span<const Objective> objectives, std::int64_t count);

/// The windows of objective k when W windows serve K objectives.
struct WindowRange {
  std::size_t first = 0, count = 0;
};
/// Precondition: K divides `windows`.
WindowRange objective_windows(std::size_t windows, std::size_t objectives, std::size_t k);

/// exp(sum of NLL / tokens) of the windows of each objective, [K]; NaN where a window is.
std::vector<double> objective_values(std::span<const WindowScore> scores, std::size_t objectives);

/// exp(sum of NLL / tokens); NaN if any window is.
double token_weighted_perplexity(std::span<const WindowScore> scores);

}  // namespace longrope::search
