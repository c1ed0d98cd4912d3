#include "model/needle_prompt.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "kernels/error.hpp"
#include "model/utf8.hpp"

namespace longrope::model {
namespace {

using Tokens = std::vector<std::int32_t>;

void append(Tokens& to, std::span<const std::int32_t> from) { to.insert(to.end(), from.begin(), from.end()); }

std::int64_t size_of(const Tokens& tokens) { return static_cast<std::int64_t>(tokens.size()); }

bool is_ruler(NeedleTask task) { return task == NeedleTask::niah_single_1 || task == NeedleTask::niah_multikey_1; }

void check_cell(const NeedleCell& cell) {
  if (!(std::isfinite(cell.depth_percent) && cell.depth_percent >= 0.0 && cell.depth_percent <= 100.0))
    throw InputError(fmt::format("[needle] a depth must be from 0 to 100 percent but got {}", cell.depth_percent));
  if (!(cell.trial >= 0 && cell.trial <= std::numeric_limits<std::int32_t>::max()))
    throw InputError(fmt::format("[needle] a trial must be from 0 to 2^31 - 1 but got {}", cell.trial));
}

}  // namespace

/// The haystack of a cell.
struct NeedlePromptMaker::Slice {
  Tokens tokens;
  std::int64_t document = -1;
  std::int64_t first_line = 0;  ///< filler: tokens of its first line
};

NeedlePromptMaker::NeedlePromptMaker(const TextTokenizer& tokenizer, const Corpus* haystack, NeedleOptions options)
    : tokenizer_(tokenizer),
      documents_(options.haystack == NeedleOptions::Haystack::text ? haystack : nullptr),
      options_(std::move(options)),
      bos_(haystack != nullptr ? haystack->bos : tokenizer.bos()) {
  options_.validate();
  const bool wants_text = options_.haystack == NeedleOptions::Haystack::text;
  if (wants_text && (haystack == nullptr || haystack->documents.empty()))
    throw InputError("[needle] a haystack of text must have documents but got none");
  const std::string header = needle_text(options_, {}).header, filler = kNeedleFiller;
  if (bos_) head_.push_back(*bos_);
  append(head_, after("", header));
  first_ = after(header, filler);
  unit_ = after(filler, (is_ruler(options_.task) ? "\n" : " ") + filler);
  full_stop_ = after("again", ".").back();
}

/// Tokens of `text` behind `before`, none of which a token shares with what stands before it.
Tokens NeedlePromptMaker::after(const std::string& before, const std::string& text) const {
  const Tokens front = tokenizer_.encode(before);
  Tokens whole = tokenizer_.encode(before + text);
  if (whole.size() <= front.size() || !std::equal(front.begin(), front.end(), whole.begin())) {
    throw InputError(fmt::format("[needle] the tokenizer must keep \"{}\" apart from what is before it but merges them",
                                 excerpt(text, 60)));
  }
  whole.erase(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(front.size()));
  const auto unknown = tokenizer_.unknown();
  if (unknown && std::find(whole.begin(), whole.end(), *unknown) != whole.end())
    throw InputError(
        fmt::format("[needle] the tokenizer must have all characters of \"{}\" but lacks one", excerpt(text, 60)));
  return whole;
}

/// after_needle: it stands first, so that the filler begins with what joins sentences.
Tokens NeedlePromptMaker::filler(std::int64_t tokens, bool after_needle) const {
  Tokens out;
  out.reserve(static_cast<std::size_t>(tokens) + unit_.size() + first_.size());
  append(out, after_needle ? unit_ : first_);
  while (size_of(out) < tokens) append(out, unit_);
  out.resize(static_cast<std::size_t>(tokens));
  return out;
}

NeedlePromptMaker::Slice NeedlePromptMaker::haystack_of(const NeedleCell& cell, std::int64_t tokens) const {
  if (documents_ == nullptr) return {filler(tokens, false), -1, size_of(first_)};
  Slice slice;
  slice.document = cell.trial % static_cast<std::int64_t>(documents_->documents.size());
  const Document& document = documents_->documents[static_cast<std::size_t>(slice.document)];
  if (size_of(document.tokens) < tokens) {
    throw InputError(
        fmt::format("[needle] document {} must have at least {} tokens for a prompt of {} but has {} (leave it out, or "
                    "ask for less)",
                    excerpt(document.name), tokens, cell.length, document.tokens.size()));
  }
  // Of the prompt's length, not of `tokens`, which a longer key takes one of: all depths of a trial share the place.
  const std::int64_t spare = std::max<std::int64_t>(0, size_of(document.tokens) - cell.length);
  PhiloxStream draws = needle_draws(options_, cell, NeedleDraw::place);
  auto place = static_cast<std::int64_t>(draws.uniform() * static_cast<double>(spare + 1));
  while (place > 0 && document.tokens[static_cast<std::size_t>(place - 1)] != full_stop_) --place;
  const auto from = document.tokens.begin() + place;
  slice.tokens.assign(from, from + tokens);
  const auto bad = bos_ ? std::find(slice.tokens.begin(), slice.tokens.end(), *bos_) : slice.tokens.end();
  if (bad != slice.tokens.end()) {
    throw InputError(fmt::format("[needle] document {} must be without BOS ({}) but has it at index {}",
                                 excerpt(document.name), *bos_, place + (bad - slice.tokens.begin())));
  }
  return slice;
}

/// Whether a sentence (RULER's noise: a line) ends with the first `tokens` of the haystack.
bool NeedlePromptMaker::ends_sentence(const Slice& slice, std::int64_t tokens) const {
  if (tokens == 0) return true;
  if (documents_ == nullptr && is_ruler(options_.task))
    return tokens >= slice.first_line && (tokens - slice.first_line) % size_of(unit_) == 0;
  return slice.tokens[static_cast<std::size_t>(tokens - 1)] == full_stop_;
}

std::int64_t NeedlePromptMaker::insertion(const Slice& slice, double depth_percent) const {
  const std::int64_t tokens = size_of(slice.tokens);
  if (depth_percent >= 100.0) return tokens;
  auto at = static_cast<std::int64_t>(static_cast<double>(tokens) * (depth_percent / 100.0));
  if (options_.task == NeedleTask::passkey) return at;
  while (!ends_sentence(slice, at)) --at;
  return at;
}

/// Where each needle goes, in tokens of the haystack. The others' depths are RULER's: of 40 from 0 to 100, none twice.
std::vector<std::int64_t> NeedlePromptMaker::insertions(const NeedleCell& cell, std::size_t needles,
                                                        Slice& slice) const {
  constexpr std::uint64_t kDepths = 40;
  std::vector<double> depths{cell.depth_percent};
  PhiloxStream draws = needle_draws(options_, cell, NeedleDraw::distractors);
  while (depths.size() < needles) {
    const double depth = std::round(100.0 * static_cast<double>(draws.below(kDepths)) / (kDepths - 1));
    if (std::find(depths.begin() + 1, depths.end(), depth) == depths.end()) depths.push_back(depth);
  }
  const auto place_all = [&] {
    std::vector<std::int64_t> places;
    for (const double depth : depths) places.push_back(insertion(slice, depth));
    return places;
  };
  std::vector<std::int64_t> places = place_all();
  if (documents_ == nullptr && is_ruler(options_.task) && std::find(places.begin(), places.end(), 0) != places.end()) {
    slice = {filler(size_of(slice.tokens), true), -1, size_of(unit_)};
    places = place_all();
  }
  return places;
}

NeedlePrompt NeedlePromptMaker::make(const NeedleCell& cell, std::int64_t reserve) const {
  check_cell(cell);
  const NeedleText text = needle_text(options_, cell);
  const std::string anchor = kNeedleFiller;
  std::vector<Tokens> needles;
  std::int64_t fixed = size_of(head_);
  for (const std::string& needle : text.needles) {
    needles.push_back(after(anchor, needle));
    fixed += size_of(needles.back());
  }
  const Tokens question = after(anchor, text.question);
  NeedlePrompt made;
  made.answer = after(anchor + text.question, text.answer);
  made.answer_text = text.answer_text;
  fixed += size_of(question) + std::max(size_of(made.answer), reserve);
  const std::int64_t room = cell.length - fixed;
  if (room < 1) {
    throw InputError(fmt::format(
        "[needle] a length must be at least {} tokens for {} (header, needle, question, {} for the answer, and one of "
        "haystack) but got {}",
        fixed + 1, kNeedleTaskNames[static_cast<std::size_t>(options_.task)], std::max(size_of(made.answer), reserve),
        cell.length));
  }
  Slice slice = haystack_of(cell, room);
  const std::vector<std::int64_t> places = insertions(cell, needles.size(), slice);
  made.document = slice.document;
  made.needle_tokens = size_of(needles.front());
  std::vector<std::size_t> order(needles.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return places[a] < places[b]; });

  // The published passkey text begins its filler anew behind the needle.
  const bool anew = options_.task == NeedleTask::passkey && documents_ == nullptr;
  const std::span<const std::int32_t> haystack = slice.tokens;
  std::size_t done = 0;
  made.prompt = head_;
  for (const std::size_t i : order) {
    const auto place = static_cast<std::size_t>(places[i]);
    append(made.prompt, haystack.subspan(done, place - done));
    if (i == 0) made.needle_first = size_of(made.prompt);
    append(made.prompt, needles[i]);
    done = place;
  }
  append(made.prompt, haystack.subspan(anew ? 0 : done, haystack.size() - done));
  append(made.prompt, question);
  return made;
}

}  // namespace longrope::model
