// What came of a needle cell, whether it counts as found, and what many of them amount to: accuracy with its Wilson
// interval (Wilson, 1927; JASA 22, 209-212), needle perplexity (LongRoPE2, arXiv 2502.20082: of the answer's tokens
// only).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/needle_text.hpp"
#include "search/candidate.hpp"

namespace longrope::search {

/// One cell under one scaling.
struct NeedleRow {
  std::int64_t cell = 0;  ///< rope * NeedleGrid::cells() + index in the grid
  std::int32_t rope = 0;  ///< index into the run's scalings
  std::int64_t length = 0;
  double depth_percent = 0.0;
  std::int64_t trial = 0;
  std::int64_t document = -1;  ///< of the haystack; -1: filler
  std::int64_t prompt_tokens = 0, answer_tokens = 0;
  std::int8_t exact = -1;  ///< 1: found; 0: not; -1: nothing was generated
  double nll_nats = 0.0;   ///< of the answer's tokens, teacher-forced; NaN: not finite, or failed
  Status status = Status::ok;
  std::string answer, generated;
  double elapsed_s = 0.0;
};

/// Each task's published metric. passkey: the first whole number in the text is the key (landmark attention's, YaRN's
/// and LongRoPE's script); niah: the answer is in the text; RULER: string_match_all, which is the same for one answer.
/// Letters count as equal in both cases.
bool needle_found(model::NeedleTask task, std::string_view generated, std::string_view answer);

/// 95% Wilson score interval of a share.
std::pair<double, double> wilson_interval(std::int64_t successes, std::int64_t trials);

/// Cells taken together.
struct NeedleSummary {
  std::int64_t cells = 0;
  std::int64_t trials = 0, exact = 0;  ///< of those for which text was generated
  double nll_nats = 0.0;
  std::int64_t answer_tokens = 0;

  double accuracy() const;  ///< NaN: nothing was generated
  std::pair<double, double> accuracy_interval() const;
  double perplexity() const;  ///< exp of the mean NLL of answer tokens; NaN if any is
};
NeedleSummary summarise(std::span<const NeedleRow* const> rows);

}  // namespace longrope::search
