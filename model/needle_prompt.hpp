// Prompts of exact token length with a needle in a haystack. Put together of tokens, never cut as text: BOS once, the
// whole header, needle and question, and as much haystack as there is room for. The published scripts cut finished
// prompts and lost the question (LongRoPE2's), added BOS twice, or drew one document over and over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/documents.hpp"
#include "model/needle_text.hpp"
#include "model/text_tokenizer.hpp"

namespace longrope::model {

struct NeedlePrompt {
  std::vector<std::int32_t> prompt;  ///< BOS (once), header, haystack with needles, question; the model answers next
  std::vector<std::int32_t> answer;  ///< as it follows the prompt
  std::string answer_text;
  std::int64_t needle_first = 0, needle_tokens = 0;  ///< in prompt: the one that is asked for
  std::int64_t document = -1;                        ///< of the haystack; -1: filler
};

class NeedlePromptMaker {
 public:
  /// haystack: the documents, and BOS, which else is the tokenizer's; null: filler. All but the options must outlive
  /// this. Throws InputError as NeedleOptions::validate, for a haystack of text without documents, and for a tokenizer
  /// that cannot write the texts.
  NeedlePromptMaker(const TextTokenizer& tokenizer, const Corpus* haystack, NeedleOptions options);

  /// The prompt of a cell: prompt.size() + max(answer.size(), reserve) == cell.length. Depth: passkey, exactly that
  /// share of the haystack's tokens before the needle; the others as gkamradt, at that token or at the end of the
  /// sentence before it (of the line before it in RULER's noise), at 100% behind all. Trial t is on document t modulo
  /// documents, at a place of its own that begins a sentence. Throws InputError "[needle] ...": the length cannot hold
  /// all but the haystack and a token of that; the document is too short or has BOS in it; a tokenizer that would merge
  /// needle, question or answer with their neighbours, or lacks their letters.
  NeedlePrompt make(const NeedleCell& cell, std::int64_t reserve) const;

  const NeedleOptions& options() const { return options_; }

 private:
  struct Slice;
  std::vector<std::int32_t> after(const std::string& before, const std::string& text) const;
  std::vector<std::int32_t> filler(std::int64_t tokens, bool after_needle) const;
  Slice haystack_of(const NeedleCell& cell, std::int64_t tokens) const;
  bool ends_sentence(const Slice& slice, std::int64_t tokens) const;
  std::int64_t insertion(const Slice& slice, double depth_percent) const;
  std::vector<std::int64_t> insertions(const NeedleCell& cell, std::size_t needles, Slice& slice) const;

  const TextTokenizer& tokenizer_;
  const Corpus* documents_;  ///< null: filler
  NeedleOptions options_;
  std::optional<std::int32_t> bos_;
  std::vector<std::int32_t> head_;          ///< BOS and header
  std::vector<std::int32_t> first_, unit_;  ///< the filler's sentences as they follow the header, and each other
  std::int32_t full_stop_ = 0;
};

}  // namespace longrope::model
