// What a search minimises: perplexities at one or more lengths, each over all tokens, over key tokens or over needles'
// answers. Each objective has windows of its own, all in one list: those of the first objective, then those of the
// second, the same number each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "search/candidate.hpp"

namespace longrope::search {

struct Objective {
  enum class Kind : std::uint8_t {
    perplexity,      ///< of every token that the protocol scores
    key_perplexity,  ///< of those among them that need the long context: LongPPL, arXiv 2410.23771
    needle,          ///< of the answers to needles in haystacks: LongRoPE2's objective
  };
  Kind kind = Kind::perplexity;
  std::int64_t length = 0;  ///< tokens of its windows

  /// "ppl@2048", "key-ppl@2048", "needle@2048".
  std::string to_string() const;
  /// "PPL", "key PPL", "needle PPL": at the head of a column.
  const char* label() const;
  /// "ppl", "key_ppl", "needle_ppl": in JSON.
  const char* key() const;
  /// A kind's name, or NAME@N with 2 <= N <= target_length (N defaults to it). Throws InputError: another kind (listing
  /// them), another length.
  static Objective parse(const std::string& text, std::int64_t target_length);

  bool operator==(const Objective&) const = default;
};

/// Comma-separated objectives, the main one first. Throws InputError as Objective::parse, and for one given twice.
std::vector<Objective> parse_objectives(const std::string& text, std::int64_t target_length);
/// "ppl@2048,ppl@256".
std::string to_string(std::span<const Objective> objectives);
/// How many objectives such a text names, of whatever kind.
std::size_t count_objectives(const std::string& text);

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
