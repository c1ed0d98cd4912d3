// What is hidden in a haystack and how it is asked for: the published texts of the needle tasks, with the key of each
// cell. Passkey: Mohtashami and Jaggi, arXiv 2305.16300 (as YaRN and LongRoPE use it); niah: gkamradt's
// LLMTest_NeedleInAHaystack; niah_single_1, niah_multikey_1: RULER, arXiv 2404.06654, scripts/data/synthetic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/philox.hpp"

namespace longrope::model {

enum class NeedleTask : std::uint8_t { passkey, niah, niah_single_1, niah_multikey_1 };
inline constexpr const char* kNeedleTaskNames[] = {"passkey", "niah", "niah-single-1", "niah-multikey-1"};

struct NeedleOptions {
  enum class Haystack : std::uint8_t { filler, text };
  NeedleTask task = NeedleTask::passkey;
  Haystack haystack = Haystack::filler;
  std::string needle, question;  ///< niah only; empty: gkamradt's
  std::string answer;            ///< niah only, found in the needle; empty: the needle without spaces around it
  std::int64_t key_min = 1, key_max = 50000;  ///< passkey only: keys are drawn uniformly, both ends included
  std::uint64_t seed = 0;

  /// Throws InputError "[needle] ...": texts for a task that has its own, not UTF-8 or too long; an answer that is not
  /// in the needle; an empty range of keys.
  void validate() const;
};

/// One question: where the needle stands in how long a prompt, and which of several trials it is.
struct NeedleCell {
  std::int64_t length = 0;     ///< tokens
  double depth_percent = 0.0;  ///< share of the haystack before the needle, 0 .. 100
  std::int64_t trial = 0;      ///< chooses the key, and with a haystack of text the document and the place in it
};

/// A cell's texts. Haystack goes between header and question; a needle has the joints to its neighbours in it.
struct NeedleText {
  std::string header;
  std::vector<std::string> needles;  ///< the one that is asked for first
  std::string question;
  std::string answer;       ///< as it follows the question, space in front included
  std::string answer_text;  ///< what must be found
};

/// Precondition: options are valid. Keys depend on seed, length, depth and trial.
NeedleText needle_text(const NeedleOptions& options, const NeedleCell& cell);

/// The filler of the passkey task, which RULER's noise haystack repeats too.
inline constexpr const char* kNeedleFiller =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/// What a draw is for; part of its key.
enum class NeedleDraw : std::uint32_t { key = 1, place = 2, distractors = 3 };
/// The draws of a cell; those of a place depend on seed and trial alone, so that all depths share their haystack.
PhiloxStream needle_draws(const NeedleOptions& options, const NeedleCell& cell, NeedleDraw purpose);

}  // namespace longrope::model
