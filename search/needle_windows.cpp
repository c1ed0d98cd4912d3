#include "search/needle_windows.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/error.hpp"

namespace longrope::search {
namespace {

/// 0 .. 2^bits - 1 with its bits in reverse.
std::uint64_t reversed(std::uint64_t value, int bits) {
  std::uint64_t out = 0;
  for (int i = 0; i < bits; ++i) out |= (value >> i & 1U) << (bits - 1 - i);
  return out;
}

/// The documents that are long enough, where some are and some are not; else nothing: all serve.
std::vector<std::int64_t> long_documents(const model::Corpus& corpus, std::int64_t length) {
  std::vector<std::int64_t> chosen;
  for (std::size_t d = 0; d < corpus.documents.size(); ++d) {
    if (std::ssize(corpus.documents[d].tokens) >= length) chosen.push_back(static_cast<std::int64_t>(d));
  }
  if (chosen.size() == corpus.documents.size()) chosen.clear();
  return chosen;
}

model::Corpus only(const model::Corpus& corpus, const std::vector<std::int64_t>& documents) {
  model::Corpus some;
  some.bos = corpus.bos;
  for (const std::int64_t d : documents) some.documents.push_back(corpus.documents[static_cast<std::size_t>(d)]);
  return some;
}

/// What a prompt must be to be scored: the maker promises it, and a search must not rest on a promise.
void check(const model::NeedlePrompt& made, std::int64_t length, std::int64_t vocabulary) {
  const auto refuse = [&](const std::string& rule) {
    throw InputError(fmt::format("[needle] a window of {} tokens {}", length, rule));
  };
  const auto prompt = std::ssize(made.prompt), answer = std::ssize(made.answer);
  if (answer == 0) refuse("must score at least one token of the answer but scores none");
  if (prompt < 1 || prompt + answer != length)
    refuse(fmt::format("must end with its answer but has {} tokens before it and {} of it", prompt, answer));
  if (made.needle_first < 0 || made.needle_tokens < 1 || made.needle_first + made.needle_tokens > prompt)
    refuse("must hold its needle but does not");
  for (const std::vector<std::int32_t>* ids : {&made.prompt, &made.answer}) {
    for (const std::int32_t id : *ids) {
      if (id < 0 || id >= vocabulary)
        refuse(fmt::format("must have ids below the model's vocabulary {} but has {} (tokenizer and model disagree)",
                           vocabulary, id));
    }
  }
}

}  // namespace

std::vector<double> needle_depths(std::int64_t count) {
  if (count == 1) return {50.0};
  const std::int64_t last = count - 1;
  std::vector<std::int64_t> order{0, last};
  int bits = 0;
  while ((std::int64_t{1} << bits) < last) ++bits;
  for (std::uint64_t i = 1; i < std::uint64_t{1} << bits; ++i) {
    const auto step = static_cast<std::int64_t>(reversed(i, bits));
    if (step < last) order.push_back(step);
  }
  std::vector<double> depths;
  for (const std::int64_t step : order) depths.push_back(100.0 * static_cast<double>(step) / static_cast<double>(last));
  return depths;
}

ObjectiveWindows make_needle_windows(const model::TextTokenizer& tokenizer, const model::Corpus& corpus,
                                     const NeedleWindowOptions& options, std::int64_t length, std::int64_t count,
                                     std::set<std::string>& keys) {
  if (count < 1) throw InputError(fmt::format("[windows] count must be at least 1 but got {}", count));
  std::vector<std::int64_t> number_of;  // of a document, in the corpus; empty: the same
  model::Corpus some;
  const bool text = options.needle.haystack == model::NeedleOptions::Haystack::text;
  if (text) number_of = long_documents(corpus, length);
  if (!number_of.empty()) some = only(corpus, number_of);
  const model::Corpus& haystack = number_of.empty() ? corpus : some;
  const model::NeedlePromptMaker maker(tokenizer, &haystack, options.needle);
  const bool keyed = options.needle.task != model::NeedleTask::niah;
  const std::int64_t turn = text ? std::max<std::int64_t>(1, std::ssize(haystack.documents)) : 1;
  constexpr std::int64_t kMaxTries = 1000;

  ObjectiveWindows made;
  const std::vector<double> depths = needle_depths(count);
  for (std::int64_t w = 0; w < count; ++w) {
    model::NeedleCell cell{length, depths[static_cast<std::size_t>(w)], options.first_trial + w};
    model::NeedlePrompt prompt = maker.make(cell, 0);
    for (std::int64_t tries = 0; keyed && !keys.insert(prompt.answer_text).second; ++tries) {
      if (tries == kMaxTries)
        throw InputError(fmt::format(
            "[needle] {} windows must have keys of their own but {} are taken and none is left", count, keys.size()));
      cell.trial += turn * count;  // another key, the same document
      prompt = maker.make(cell, 0);
    }
    check(prompt, length, options.vocabulary);
    model::Window window;
    window.document = prompt.document < 0 || number_of.empty() ? prompt.document
                                                               : number_of[static_cast<std::size_t>(prompt.document)];
    window.length = length;
    window.bos = haystack.bos.has_value() && prompt.prompt.front() == *haystack.bos;
    window.first_scored = std::ssize(prompt.prompt);
    made.windows.push_back(window);
    made.needle_first.push_back(prompt.needle_first);
    std::vector<std::int32_t>& ids = made.tokens.emplace_back(std::move(prompt.prompt));
    ids.insert(ids.end(), prompt.answer.begin(), prompt.answer.end());
  }
  return made;
}

}  // namespace longrope::search
