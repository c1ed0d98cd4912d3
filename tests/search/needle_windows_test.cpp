// Windows of needle objectives: depths, documents and keys of their own, scored on the answer and nothing else.
#include "search/needle_windows.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/error.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

namespace longrope::search {
namespace {

using test::contains;
using test::message_of;

constexpr std::int64_t kVocabulary = 1 << 20, kLength = 220;

const model::TextTokenizer& tokenizer() {
  static const model::TextTokenizer made(LONGROPE_REFERENCE "/tokenizer.model");
  return made;
}

/// Documents of so many tokens each, with sentences.
model::Corpus corpus_of(const std::vector<std::int64_t>& sizes) {
  model::Corpus corpus;
  corpus.bos = tokenizer().bos();
  const auto sentence = tokenizer().encode("The old man went to the sea again. ");
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    model::Document document{"d" + std::to_string(d), {}};
    const auto own = tokenizer().encode("Here is number " + std::to_string(d) + ".");
    while (std::ssize(document.tokens) < sizes[d]) {
      const auto& next = document.tokens.size() % 3 == 0 ? own : sentence;
      document.tokens.insert(document.tokens.end(), next.begin(), next.end());
    }
    document.tokens.resize(static_cast<std::size_t>(sizes[d]));
    corpus.documents.push_back(document);
  }
  return corpus;
}

NeedleWindowOptions options_of(model::NeedleOptions::Haystack haystack, std::int64_t first_trial = 0) {
  NeedleWindowOptions options;
  options.needle.haystack = haystack;
  options.needle.seed = 42;
  options.first_trial = first_trial;
  options.vocabulary = kVocabulary;
  return options;
}

constexpr auto kText = model::NeedleOptions::Haystack::text, kFiller = model::NeedleOptions::Haystack::filler;

std::vector<std::int64_t> documents_of(const ObjectiveWindows& made) {
  std::vector<std::int64_t> documents;
  for (const model::Window& window : made.windows) documents.push_back(window.document);
  return documents;
}

TEST_CASE("Depths are even, and the first few of them cover the range", "[needle]") {
  CHECK(needle_depths(1) == std::vector<double>{50.0});
  CHECK(needle_depths(2) == std::vector<double>{0.0, 100.0});
  CHECK(needle_depths(3) == std::vector<double>{0.0, 100.0, 50.0});
  CHECK(needle_depths(5) == std::vector<double>{0.0, 100.0, 50.0, 25.0, 75.0});
  for (const std::int64_t count : {2, 3, 4, 7, 10, 16, 17, 100}) {
    CAPTURE(count);
    const std::vector<double> depths = needle_depths(count);
    std::vector<double> sorted = depths;
    std::sort(sorted.begin(), sorted.end());
    REQUIRE(std::ssize(depths) == count);
    for (std::int64_t i = 0; i < count; ++i)
      CHECK(std::abs(sorted[static_cast<std::size_t>(i)] -
                     100.0 * static_cast<double>(i) / static_cast<double>(count - 1)) < 1e-9);
    for (std::int64_t first = 2; first < count; ++first) {  // no gap is much wider than it must be
      std::vector<double> some(depths.begin(), depths.begin() + first);
      std::sort(some.begin(), some.end());
      double gap = 0.0;
      for (std::size_t i = 1; i < some.size(); ++i) gap = std::max(gap, some[i] - some[i - 1]);
      CHECK(gap <= 2.0 * 100.0 / static_cast<double>(first - 1) + 100.0 / static_cast<double>(count - 1) + 1e-9);
    }
  }
}

TEST_CASE("Ten needle windows use ten documents, ten keys and ten depths", "[needle]") {
  const model::Corpus corpus = corpus_of(std::vector<std::int64_t>(10, 400));
  std::set<std::string> keys;
  const ObjectiveWindows made = make_needle_windows(tokenizer(), corpus, options_of(kText), kLength, 10, keys);
  CHECK(documents_of(made) == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(keys.size() == 10);
  for (std::size_t w = 0; w < 10; ++w) {
    CAPTURE(w);
    const model::Window& window = made.windows[w];
    const auto& ids = made.tokens[w];
    REQUIRE(std::ssize(ids) == kLength);
    CHECK(window.length == kLength);
    CHECK(window.bos);
    CHECK(std::count(ids.begin(), ids.end(), *tokenizer().bos()) == 1);
    // What is scored is the answer, and the answer is the key; it stands in the needle too.
    const std::vector<std::int32_t> answer(ids.begin() + window.first_scored, ids.end());
    CHECK(!answer.empty());
    CHECK(keys.contains(tokenizer().decode(answer)));
    const auto from = ids.begin() + made.needle_first[w];
    CHECK(contains(tokenizer().decode(std::vector<std::int32_t>(from, ids.begin() + window.first_scored)),
                   "The pass key is " + tokenizer().decode(answer) + "."));
    CHECK(contains(tokenizer().decode(ids), "What is the pass key? The pass key is"));
  }
  // Held-out windows have other keys, also where the same trial would give one that is taken.
  const std::set<std::string> before = keys;
  const ObjectiveWindows again = make_needle_windows(tokenizer(), corpus, options_of(kText), kLength, 10, keys);
  CHECK(keys.size() == 20);
  CHECK(documents_of(again) == documents_of(made));
  for (std::size_t w = 0; w < 10; ++w) CHECK(again.tokens[w] != made.tokens[w]);
  const ObjectiveWindows held = make_needle_windows(tokenizer(), corpus, options_of(kText, 1 << 30), kLength, 10, keys);
  CHECK(keys.size() == 30);
  std::vector<std::int64_t> documents = documents_of(held);
  std::sort(documents.begin(), documents.end());
  CHECK(documents == documents_of(made));
}

TEST_CASE("Short documents are passed over while there are others", "[needle]") {
  std::set<std::string> keys;
  const model::Corpus corpus = corpus_of({400, 20, 400, 219, 400});
  const ObjectiveWindows made = make_needle_windows(tokenizer(), corpus, options_of(kText), kLength, 5, keys);
  CHECK(documents_of(made) == std::vector<std::int64_t>{0, 2, 4, 0, 2});
  CHECK(made.tokens[0] != made.tokens[3]);
  CHECK(contains(message_of<InputError>([&] {
                   make_needle_windows(tokenizer(), corpus_of({20, 30}), options_of(kText), kLength, 2, keys);
                 }),
                 "document d0 must have at least"));
}

TEST_CASE("Filler is no document's, and its windows differ by key", "[needle]") {
  std::set<std::string> keys;
  const ObjectiveWindows made =
      make_needle_windows(tokenizer(), corpus_of({30}), options_of(kFiller), kLength, 4, keys);
  CHECK(documents_of(made) == std::vector<std::int64_t>{-1, -1, -1, -1});
  CHECK(keys.size() == 4);
}

TEST_CASE("What would not be a needle is an error, not a plain perplexity", "[needle]") {
  const model::Corpus corpus = corpus_of({400});
  std::set<std::string> keys;
  const auto refusal = [&](const NeedleWindowOptions& options, std::int64_t length, std::int64_t count) {
    return message_of<InputError>([&] { make_needle_windows(tokenizer(), corpus, options, length, count, keys); });
  };
  CHECK(contains(refusal(options_of(kText), 40, 2), "[needle] a length must be at least"));
  CHECK(contains(refusal(options_of(kText), kLength, 0), "count must be at least 1"));
  NeedleWindowOptions other = options_of(kText);
  other.vocabulary = 100;  // the tokenizer is another model's
  CHECK(contains(refusal(other, kLength, 2), "must have ids below the model's vocabulary 100"));
  NeedleWindowOptions few = options_of(kText);
  few.needle.key_min = few.needle.key_max = 7;
  CHECK(contains(refusal(few, kLength, 2), "must have keys of their own"));
}

}  // namespace
}  // namespace longrope::search
