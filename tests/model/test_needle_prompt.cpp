// Needle prompts with the reference model's tokenizer: exact lengths, one BOS, whole header, needle and question
// whatever the length and depth, keys and documents that differ between trials; and each thing that would make a prompt
// ask for what is not in it, by a clear error. What a prompt says is read from its decoded text.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "kernels/error.hpp"
#include "model/needle_prompt.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"

namespace {

namespace fs = std::filesystem;
using longrope::InputError;
using longrope::model::Corpus;
using longrope::model::NeedleCell;
using longrope::model::NeedleOptions;
using longrope::model::NeedlePrompt;
using longrope::model::NeedlePromptMaker;
using longrope::model::NeedleTask;
using longrope::model::TextTokenizer;
using longrope::tests::ContainsSubstring;
using longrope::tests::message_of;
using Haystack = NeedleOptions::Haystack;

const TextTokenizer& reference_tokenizer() {
  static const TextTokenizer tokenizer(fs::path(LONGROPE_REFERENCE) / "tokenizer.model");
  return tokenizer;
}

constexpr std::int32_t kBos = 1;
const std::string kHeader =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
    "about "
    "the important information there.\n";
const std::string kSentences =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

bool starts_with(const std::string& text, const std::string& part) { return text.compare(0, part.size(), part) == 0; }
bool ends_with(const std::string& text, const std::string& part) {
  return text.size() >= part.size() && text.compare(text.size() - part.size(), part.size(), part) == 0;
}

NeedleOptions options_of(NeedleTask task, Haystack haystack = Haystack::filler) {
  NeedleOptions options;
  options.task = task;
  options.haystack = haystack;
  options.seed = 42;
  return options;
}

/// Documents of numbered sentences, the words of each its own.
Corpus documents(int count, int sentences) {
  Corpus corpus;
  corpus.bos = kBos;
  for (int d = 0; d < count; ++d) {
    std::string text;
    for (int s = 0; s < sentences; ++s)
      text += (s == 0 ? "" : " ") + std::string("Story ") + std::to_string(d) + " says line " + std::to_string(s) + ".";
    corpus.documents.push_back({"story" + std::to_string(d) + ".txt", reference_tokenizer().encode(text)});
  }
  return corpus;
}

std::string text_of(const NeedlePrompt& made) { return reference_tokenizer().decode(made.prompt); }

std::string refusal(const Corpus* corpus, const NeedleOptions& options, const NeedleCell& cell,
                    std::int64_t reserve = 0) {
  return message_of<InputError>([&] { NeedlePromptMaker(reference_tokenizer(), corpus, options).make(cell, reserve); });
}

}  // namespace

TEST_CASE("a passkey prompt is the published five lines, token-exact", "[needle]") {
  const NeedlePromptMaker maker(reference_tokenizer(), nullptr, options_of(NeedleTask::passkey));
  for (const std::int64_t length : {190, 256, 257, 1000}) {
    for (const double depth : {0.0, 10.0, 33.3, 50.0, 100.0}) {
      for (const std::int64_t reserve : {0, 3, 20}) {
        const NeedlePrompt made = maker.make({length, depth, 1}, reserve);
        const auto prompt = static_cast<std::int64_t>(made.prompt.size());
        const auto answer = static_cast<std::int64_t>(made.answer.size());
        CHECK(prompt + std::max(answer, reserve) == length);
        CHECK(made.prompt.front() == kBos);
        CHECK(std::count(made.prompt.begin(), made.prompt.end(), kBos) == 1);
        CHECK(made.document == -1);
        const std::string text = text_of(made), &key = made.answer_text;
        const std::string needle = "\nThe pass key is " + key + ". Remember it. " + key + " is the pass key.\n";
        const std::string question = "\nWhat is the pass key? The pass key is";
        CHECK(starts_with(text, kHeader));
        CHECK(ends_with(text, question));
        REQUIRE(count(text, needle) == 1);
        CHECK(reference_tokenizer().decode(made.answer) == key);
        // Both pieces of filler are beginnings of the repeated sentences, cut anywhere.
        std::string filler = kSentences;
        while (filler.size() < text.size()) filler += " " + kSentences;
        const std::size_t at = text.find(needle);
        const std::string before = text.substr(kHeader.size(), at - kHeader.size());
        const std::string behind = text.substr(at + needle.size(), text.size() - question.size() - at - needle.size());
        CHECK(starts_with(filler, before));
        CHECK(starts_with(filler, behind));
        // Where it says it is, and that share of the filler before it.
        const auto first = made.prompt.begin() + made.needle_first;
        const std::vector<std::int32_t> found(first, first + made.needle_tokens);
        CHECK(reference_tokenizer().decode(found).find(needle.substr(1, needle.size() - 2)) != std::string::npos);
        const auto head = static_cast<std::int64_t>(1 + reference_tokenizer().encode(kHeader).size());
        const auto tail = static_cast<std::int64_t>(reference_tokenizer().encode("x" + question).size() -
                                                    reference_tokenizer().encode("x").size());
        const std::int64_t haystack = prompt - head - tail - made.needle_tokens;
        CHECK(made.needle_first - head == static_cast<std::int64_t>(static_cast<double>(haystack) * depth / 100.0));
      }
    }
  }
}

TEST_CASE("a prompt's tokens are those of its text", "[needle]") {
  // Cut between sentences, the pieces put together are what the tokenizer makes of the whole.
  const NeedlePromptMaker maker(reference_tokenizer(), nullptr, options_of(NeedleTask::passkey));
  bool compared = false;
  for (std::int64_t length = 200; length < 300; ++length) {
    const NeedlePrompt made = maker.make({length, 0.0, 0}, 0);
    const std::string text = text_of(made);
    if (count(text, "again.\nWhat is") != 1) continue;
    std::vector<std::int32_t> whole{kBos};
    for (const std::int32_t id : reference_tokenizer().encode(text + " " + made.answer_text)) whole.push_back(id);
    std::vector<std::int32_t> ours = made.prompt;
    ours.insert(ours.end(), made.answer.begin(), made.answer.end());
    CHECK(ours == whole);
    compared = true;
  }
  CHECK(compared);
}

TEST_CASE("keys are uniform in their range and of their cell and seed", "[needle]") {
  NeedleOptions options = options_of(NeedleTask::passkey);
  const NeedlePromptMaker maker(reference_tokenizer(), nullptr, options);
  std::set<std::string> keys;
  double sum = 0.0;
  constexpr int kTrials = 400;
  for (int trial = 0; trial < kTrials; ++trial) {
    const std::string key = maker.make({220, 50.0, trial}, 0).answer_text;
    keys.insert(key);
    sum += std::stod(key);
    CHECK((std::stol(key) >= 1 && std::stol(key) <= 50000));
  }
  CHECK(keys.size() > kTrials - 10);
  CHECK(sum / kTrials == Approx(25000.5).margin(4.0 * 50000.0 / std::sqrt(12.0 * kTrials)));
  const NeedlePrompt one = maker.make({220, 50.0, 0}, 0);
  CHECK(maker.make({220, 50.0, 0}, 0).prompt == one.prompt);
  CHECK(maker.make({220, 25.0, 0}, 0).answer_text != one.answer_text);
  CHECK(maker.make({221, 50.0, 0}, 0).answer_text != one.answer_text);
  options.seed = 43;
  CHECK(NeedlePromptMaker(reference_tokenizer(), nullptr, options).make({220, 50.0, 0}, 0).answer_text !=
        one.answer_text);
  options.key_min = options.key_max = 77;
  CHECK(NeedlePromptMaker(reference_tokenizer(), nullptr, options).make({220, 50.0, 0}, 0).answer_text == "77");
}

TEST_CASE("trials are spread over all documents, each at a place of its own", "[needle]") {
  const Corpus corpus = documents(3, 200);
  for (const NeedleTask task : {NeedleTask::passkey, NeedleTask::niah, NeedleTask::niah_multikey_1}) {
    const NeedlePromptMaker maker(reference_tokenizer(), &corpus, options_of(task, Haystack::text));
    std::set<std::string> stories;
    std::set<std::int64_t> places;
    for (int trial = 0; trial < 10; ++trial) {
      const NeedlePrompt made = maker.make({500, 50.0, trial}, 0);
      CHECK(made.document == trial % 3);
      const std::string text = text_of(made);
      const std::string name = "Story " + std::to_string(trial % 3) + " says line ";
      CHECK(count(text, name) > 10);
      stories.insert(name);
      places.insert(std::stol(text.substr(text.find(name) + name.size())) * 3 + trial % 3);
      CHECK(count(text, "Story ") <= count(text, name) + 2);  // of no other, but where it was cut
      // All depths of a trial share their haystack, so that its prefill can be shared.
      const NeedlePrompt deeper = maker.make({500, 100.0, trial}, 0);
      const auto shared = static_cast<std::ptrdiff_t>(made.needle_first);
      if (task != NeedleTask::niah_multikey_1)
        CHECK(std::equal(made.prompt.begin(), made.prompt.begin() + shared, deeper.prompt.begin()));
    }
    CHECK(stories.size() == 3);
    CHECK(places.size() >= 9);
  }
}

TEST_CASE("niah goes to the end of the sentence before its depth", "[needle]") {
  const Corpus corpus = documents(2, 300);
  const std::string needle =
      "\nThe best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day.\n";
  const NeedlePromptMaker maker(reference_tokenizer(), &corpus, options_of(NeedleTask::niah, Haystack::text));
  for (const std::int64_t length : {400, 1000}) {
    for (const double depth : {0.0, 3.0, 50.0, 97.0, 100.0}) {
      const NeedlePrompt made = maker.make({length, depth, 3}, 0);
      CHECK(static_cast<std::int64_t>(made.prompt.size() + made.answer.size()) == length);
      const std::string text = text_of(made);
      REQUIRE(count(text, needle) == 1);
      const std::string before = text.substr(0, text.find(needle));
      if (depth < 100.0) CHECK((before == "<context>\n" || before.back() == '.'));
      if (depth == 0.0) CHECK(before == "<context>\n");
      if (depth == 100.0) CHECK(count(text, needle + "\n</context>") == 1);
      CHECK(ends_with(text,
                      "\n</context>\n\nWhat is the best thing to do in San Francisco? Don't give information outside "
                      "the document or repeat your findings\n\nHere is the most relevant sentence in the context:"));
      CHECK(reference_tokenizer().decode(made.answer) == made.answer_text);
      CHECK("\n" + made.answer_text + "\n" == needle);
    }
  }
  NeedleOptions own = options_of(NeedleTask::niah);
  own.needle = " The cat of Bob is called Rex.";
  own.question = "What is the cat of Bob called?";
  own.answer = "Rex";
  const NeedlePrompt made = NeedlePromptMaker(reference_tokenizer(), nullptr, own).make({300, 40.0, 0}, 16);
  CHECK(made.prompt.size() + 16 == 300);
  CHECK(made.answer_text == "Rex");
  CHECK(count(text_of(made), ". The cat of Bob is called Rex. ") == 1);
}

TEST_CASE("RULER's prompts: numbers of seven digits, one line of noise each, four keys of which one is asked",
          "[needle]") {
  const NeedlePromptMaker single(reference_tokenizer(), nullptr, options_of(NeedleTask::niah_single_1));
  for (const double depth : {0.0, 35.0, 50.0, 100.0}) {
    const NeedlePrompt made = single.make({400, depth, 2}, 0);
    const std::string text = text_of(made);
    CHECK(made.prompt.size() + made.answer.size() == 400);
    CHECK(made.answer_text.size() == 7);
    const std::size_t at = text.find("\nOne of the special magic numbers for ");
    REQUIRE(at != std::string::npos);
    const std::string rest = text.substr(at + 38), word = rest.substr(0, rest.find(' '));
    CHECK(starts_with(rest, word + " is: " + made.answer_text + "."));
    CHECK(
        starts_with(text,
                    "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz "
                    "you about the number afterwards.\n"));
    CHECK(ends_with(text, "\nWhat is the special magic number for " + word +
                              " mentioned in the provided text? The special magic number for " + word +
                              " mentioned in the provided text is"));
    CHECK(count(text, made.answer_text) == 1);
    if (depth < 100.0) {
      CHECK(count(text, "." + std::string("\nThe grass is green.")) >= 2);
      CHECK(starts_with(text.substr(at + 38 + word.size() + 5 + 7), ".\nThe grass is green."));
    }
  }
  const Corpus corpus = documents(2, 300);
  const NeedlePromptMaker multi(reference_tokenizer(), &corpus,
                                options_of(NeedleTask::niah_multikey_1, Haystack::text));
  for (int trial = 0; trial < 6; ++trial) {
    const NeedlePrompt made = multi.make({900, 70.0, trial}, 0);
    const std::string text = text_of(made);
    CHECK(made.prompt.size() + made.answer.size() == 900);
    CHECK(count(text, "One of the special magic numbers for ") == 4);
    const std::string asked = text.substr(text.rfind("number for ") + 11);
    const std::string word = asked.substr(0, asked.find(' '));
    CHECK(count(text, " numbers for " + word + " is: " + made.answer_text + ".") == 1);
    CHECK(count(text, " is: ") == 4);
  }
}

TEST_CASE("a prompt that would not ask for what is in it is refused", "[needle]") {
  NeedleOptions passkey = options_of(NeedleTask::passkey);
  passkey.key_min = passkey.key_max = 12345;  // a key's digits take room
  const std::string short_length = refusal(nullptr, passkey, {60, 50.0, 0});
  CHECK_THAT(short_length, ContainsSubstring("[needle] a length must be at least"));
  const std::int64_t least = std::stol(short_length.substr(short_length.find("least") + 6));
  CHECK(refusal(nullptr, passkey, {least, 50.0, 0}).empty());
  CHECK_THAT(refusal(nullptr, passkey, {least - 1, 50.0, 0}), ContainsSubstring("at least " + std::to_string(least)));
  CHECK_THAT(refusal(nullptr, passkey, {least, 50.0, 0}, 40), ContainsSubstring("40 for the answer"));
  for (const double depth : {-1.0, 100.5, std::nan("")})
    CHECK_THAT(refusal(nullptr, passkey, {300, depth, 0}), ContainsSubstring("depth must be from 0 to 100"));
  CHECK_THAT(refusal(nullptr, passkey, {300, 0.0, -1}), ContainsSubstring("a trial must be"));

  Corpus corpus = documents(2, 60);
  const NeedleOptions text = options_of(NeedleTask::passkey, Haystack::text);
  CHECK_THAT(refusal(nullptr, text, {300, 0.0, 0}), ContainsSubstring("must have documents but got none"));
  corpus.documents[1].tokens.resize(50);
  CHECK(refusal(&corpus, text, {300, 0.0, 0}).empty());
  CHECK_THAT(refusal(&corpus, text, {300, 0.0, 1}), ContainsSubstring("document story1.txt must have at least"));
  corpus.documents[0].tokens.assign(400, kBos);
  CHECK_THAT(refusal(&corpus, text, {300, 0.0, 0}), ContainsSubstring("story0.txt must be without BOS (1)"));

  NeedleOptions bad = passkey;
  bad.needle = "x";
  CHECK_THAT(refusal(nullptr, bad, {300, 0.0, 0}), ContainsSubstring("for task niah only"));
  bad = passkey;
  bad.key_min = 10;
  bad.key_max = 9;
  CHECK_THAT(refusal(nullptr, bad, {300, 0.0, 0}), ContainsSubstring("keys must be a range"));
  bad = options_of(NeedleTask::niah);
  bad.answer = "eat a pizza";
  CHECK_THAT(refusal(nullptr, bad, {300, 0.0, 0}), ContainsSubstring("the answer must be found in the needle"));
  bad.answer = "\xff";
  CHECK_THAT(refusal(nullptr, bad, {300, 0.0, 0}), ContainsSubstring("must be UTF-8"));
  bad.answer = "";
  bad.needle = "Who?";
  CHECK_THAT(refusal(nullptr, bad, {300, 0.0, 0}), ContainsSubstring("must come with its question"));
}
