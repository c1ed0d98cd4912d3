#include "model/needle_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <iterator>

#include "kernels/error.hpp"
#include "model/utf8.hpp"

namespace longrope::model {
namespace {

constexpr std::size_t kMaxTextBytes = 65536;
constexpr std::int64_t kMaxKey = 1'000'000'000'000'000;

constexpr const char* kNiahNeedle =
    "\nThe best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day.\n";
constexpr const char* kNiahQuestion = "What is the best thing to do in San Francisco?";

// RULER draws its keys, "adjective-noun", from the package wonderwords; these are ours.
constexpr const char* kAdjectives[] = {"able",  "brave", "calm",  "dark",   "eager", "fair",  "gentle", "happy",
                                       "icy",   "jolly", "keen",  "lively", "mild",  "noble", "odd",    "proud",
                                       "quiet", "rapid", "sharp", "tidy",   "upset", "vast",  "warm",   "young",
                                       "zany",  "bold",  "cheap", "dusty",  "early", "flat",  "grand",  "heavy"};
constexpr const char* kNouns[] = {"apple",  "bridge", "candle", "desk",   "engine",   "forest", "garden", "hammer",
                                  "island", "jacket", "kettle", "ladder", "mirror",   "needle", "ocean",  "pencil",
                                  "quilt",  "river",  "saddle", "ticket", "umbrella", "valley", "window", "yard",
                                  "zipper", "anchor", "basket", "cotton", "dragon",   "fabric", "guitar", "helmet"};

std::string trimmed(const std::string& text) {
  const char* const spaces = " \t\r\n";
  const std::size_t first = text.find_first_not_of(spaces);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

std::string needle_of(const NeedleOptions& options) { return options.needle.empty() ? kNiahNeedle : options.needle; }
std::string answer_of(const NeedleOptions& options) {
  return options.answer.empty() ? trimmed(needle_of(options)) : options.answer;
}

void check_text(const char* name, const std::string& text) {
  if (text.size() > kMaxTextBytes)
    throw InputError(fmt::format("[needle] {} must be at most {} bytes but got {}", name, kMaxTextBytes, text.size()));
  if (const auto bad = first_invalid_utf8(text))
    throw InputError(fmt::format("[needle] {} must be UTF-8 but is not at byte offset {}", name, *bad));
  if (!text.empty() && trimmed(text).empty())
    throw InputError(fmt::format("[needle] {} must hold more than spaces", name));
}

NeedleText passkey_text(const NeedleOptions& options, const NeedleCell& cell) {
  PhiloxStream draws = needle_draws(options, cell, NeedleDraw::key);
  const auto keys = static_cast<std::uint64_t>(options.key_max - options.key_min) + 1;
  const std::int64_t key = options.key_min + static_cast<std::int64_t>(draws.below(keys));
  NeedleText text;
  text.header =
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
      "about the important information there.\n";
  text.needles = {fmt::format("\nThe pass key is {0}. Remember it. {0} is the pass key.\n", key)};
  text.question = "\nWhat is the pass key? The pass key is";
  text.answer_text = fmt::format("{}", key);
  text.answer = " " + text.answer_text;
  return text;
}

NeedleText niah_text(const NeedleOptions& options) {
  NeedleText text;
  text.header = "<context>\n";
  text.needles = {needle_of(options)};
  text.question = fmt::format(
      "\n</context>\n\n{} Don't give information outside the document or repeat your findings\n\nHere is the most "
      "relevant sentence in the context:",
      options.question.empty() ? kNiahQuestion : options.question);
  text.answer_text = answer_of(options);
  text.answer = " " + text.answer_text;
  return text;
}

/// RULER's template with one query and one value, in its singular form.
NeedleText ruler_text(const NeedleOptions& options, const NeedleCell& cell) {
  const std::size_t keys = options.task == NeedleTask::niah_multikey_1 ? 4 : 1;
  const char* const joint = options.haystack == NeedleOptions::Haystack::filler ? "\n" : " ";
  PhiloxStream draws = needle_draws(options, cell, NeedleDraw::key);
  std::vector<std::string> words, numbers;
  const auto add_new = [](std::vector<std::string>& list, std::string item) {
    if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(std::move(item));
  };
  while (words.size() < keys) {
    const char* const adjective = kAdjectives[draws.below(std::size(kAdjectives))];
    add_new(words, fmt::format("{}-{}", adjective, kNouns[draws.below(std::size(kNouns))]));
  }
  while (numbers.size() < keys) add_new(numbers, fmt::format("{}", 1'000'000 + draws.below(9'000'000)));
  NeedleText text;
  text.header =
      "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about the "
      "number afterwards.\n";
  for (std::size_t i = 0; i < keys; ++i)
    text.needles.push_back(
        fmt::format("{}One of the special magic numbers for {} is: {}.", joint, words[i], numbers[i]));
  text.question = fmt::format(
      "\nWhat is the special magic number for {0} mentioned in the provided text? The special magic number for {0} "
      "mentioned in the provided text is",
      words.front());
  text.answer_text = numbers.front();
  text.answer = " " + text.answer_text;
  return text;
}

}  // namespace

void NeedleOptions::validate() const {
  if (task != NeedleTask::niah && !(needle.empty() && question.empty() && answer.empty())) {
    throw InputError(fmt::format("[needle] needle, question and answer must be given for task niah only but got {}",
                                 kNeedleTaskNames[static_cast<std::size_t>(task)]));
  }
  check_text("the needle", needle);
  check_text("the question", question);
  check_text("the answer", answer);
  if (!needle.empty() && question.empty())
    throw InputError("[needle] a needle must come with its question but got none");
  if (task == NeedleTask::niah && needle_of(*this).find(answer_of(*this)) == std::string::npos) {
    throw InputError(fmt::format("[needle] the answer must be found in the needle but got \"{}\" for \"{}\"",
                                 excerpt(answer, 60), excerpt(trimmed(needle_of(*this)), 100)));
  }
  if (!(key_min >= 0 && key_min <= key_max && key_max <= kMaxKey)) {
    throw InputError(
        fmt::format("[needle] keys must be a range within 0 to {} but got {} to {}", kMaxKey, key_min, key_max));
  }
}

PhiloxStream needle_draws(const NeedleOptions& options, const NeedleCell& cell, NeedleDraw purpose) {
  std::uint32_t where = 0;
  if (purpose != NeedleDraw::place) {
    const auto length = static_cast<std::uint64_t>(cell.length);
    const auto depth = std::bit_cast<std::uint64_t>(cell.depth_percent + 0.0);  // -0 is 0
    const auto low = [](std::uint64_t word) { return static_cast<std::uint32_t>(word); };
    where = philox4x32_10({low(length), low(length >> 32), low(depth), low(depth >> 32)}, {0, 0})[0];
  }
  return {options.seed, {static_cast<std::uint32_t>(cell.trial), where, static_cast<std::uint32_t>(purpose)}};
}

NeedleText needle_text(const NeedleOptions& options, const NeedleCell& cell) {
  switch (options.task) {
    case NeedleTask::passkey:
      return passkey_text(options, cell);
    case NeedleTask::niah:
      return niah_text(options);
    default:
      return ruler_text(options, cell);
  }
}

}  // namespace longrope::model
