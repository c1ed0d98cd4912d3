// The windows of a needle objective: prompts of exact length with their answers, only the answers scored. What silently
// made LongRoPE2's published needle perplexity a plain one is an error here: a truncated answer, a needle that is not
// there, one document over and over.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "model/needle_prompt.hpp"
#include "search/objective_windows.hpp"

namespace longrope::search {

/// Depths of `count` windows in percent, evenly from 0 to 100 (one: 50), in an order in which the first few cover the
/// range: the ends, then what halves the gaps.
std::vector<double> needle_depths(std::int64_t count);

struct NeedleWindowOptions {
  model::NeedleOptions needle;
  std::int64_t first_trial = 0;  ///< which keys: held-out windows begin elsewhere
  std::int64_t vocabulary = 0;   ///< of the model
};

/// `count` windows of `length` tokens: the depths above, a key for each that is not in `keys` (where the task has
/// keys), which gets them, documents of the haystack in turn. Documents shorter than the length are passed over while
/// there are others. Throws InputError as NeedlePromptMaker, for ids out of the vocabulary, and for a prompt that
/// breaks what is said above.
ObjectiveWindows make_needle_windows(const model::TextTokenizer& tokenizer, const model::Corpus& corpus,
                                     const NeedleWindowOptions& options, std::int64_t length, std::int64_t count,
                                     std::set<std::string>& keys);

}  // namespace longrope::search
