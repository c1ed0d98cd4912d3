#include "model/windows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "kernels/error.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

constexpr std::string_view kStridePrefix = "stride:";
constexpr std::size_t kMaxDocumentsNamed = 8;

std::int64_t tokens_of(const Document& document) { return static_cast<std::int64_t>(document.tokens.size()); }

/// How a protocol cuts a document: block j begins at token j*step and takes `taken` tokens of it.
struct Cut {
  std::int64_t step = 0;
  std::int64_t taken = 0;
  bool bos = false;

  std::int64_t blocks(std::int64_t tokens) const { return tokens < taken ? 0 : (tokens - taken) / step + 1; }
};

Cut make_cut(const Protocol& protocol, std::int64_t length, bool bos) {
  switch (protocol.kind) {
    case Protocol::Kind::window:
      return bos ? Cut{length - 1, length - 1, true} : Cut{length, length, false};
    case Protocol::Kind::stride:
      return {protocol.stride, length, false};
    case Protocol::Kind::half:
      // With BOS the stream is BOS t0 t1 ...: chunk j is its entries [jL, jL+L), the first of them replaced by BOS.
      return {length, bos ? length - 1 : length, bos};
  }
  return {};
}

/// Position of the first scored target in block `block`.
std::int64_t first_scored(const Protocol& protocol, std::int64_t length, std::int64_t block) {
  if (protocol.kind == Protocol::Kind::stride && block > 0) return std::max<std::int64_t>(1, length - protocol.stride);
  // llama-perplexity reads the logits at positions L/2 .. L-2, which predict the targets one later.
  if (protocol.kind == Protocol::Kind::half) return length / 2 + 1;
  return 1;
}

void check(const Protocol& protocol, std::int64_t length, std::int64_t count) {
  // Under `half` two tokens leave nothing to score.
  const std::int64_t least = protocol.kind == Protocol::Kind::half ? 3 : 2;
  if (length < least) {
    throw InputError(fmt::format("[windows] length must be at least {} tokens under protocol {} but got {}", least,
                                 protocol.to_string(), length));
  }
  if (protocol.kind == Protocol::Kind::stride && (protocol.stride < 1 || protocol.stride > length)) {
    throw InputError(
        fmt::format("[windows] stride must be from 1 to the length {} but got {}", length, protocol.stride));
  }
  if (count < 1) throw InputError(fmt::format("[windows] count must be at least 1 but got {}", count));
}

/// "name 1234, other 567": tokens of the first documents.
std::string describe(const std::vector<Document>& documents) {
  std::string text;
  for (std::size_t i = 0; i < documents.size() && i < kMaxDocumentsNamed; ++i) {
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", excerpt(documents[i].name), tokens_of(documents[i]));
  }
  if (documents.size() > kMaxDocumentsNamed) {
    text += fmt::format(", and {} more documents", documents.size() - kMaxDocumentsNamed);
  }
  return text;
}

}  // namespace

std::string Protocol::to_string() const {
  switch (kind) {
    case Kind::window:
      return "window";
    case Kind::stride:
      return fmt::format("stride:{}", stride);
    case Kind::half:
      return "half";
  }
  return "";
}

Protocol Protocol::parse(const std::string& text) {
  if (text == "window") return {Kind::window, 0};
  if (text == "half") return {Kind::half, 0};
  if (text.starts_with(kStridePrefix)) {
    std::int64_t stride = 0;
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data() + kStridePrefix.size(), end, stride);
    if (error == std::errc() && at == end && stride > 0) return {Kind::stride, stride};
  }
  throw InputError(
      fmt::format("[protocol] must be window, stride:S (S > 0 tokens) or half but got '{}'", excerpt(text)));
}

std::vector<Window> make_windows(const Corpus& corpus, const Protocol& protocol, std::int64_t length,
                                 std::int64_t count) {
  check(protocol, length, count);
  const Cut cut = make_cut(protocol, length, corpus.bos.has_value());
  const auto& documents = corpus.documents;
  std::int64_t available = 0;
  for (const Document& document : documents) available += cut.blocks(tokens_of(document));
  if (available < count) {
    throw InputError(
        fmt::format("[windows] corpus must hold {} windows of {} tokens under protocol {} but got {} (tokens "
                    "per document: {})",
                    count, length, protocol.to_string(), available, describe(documents)));
  }
  std::vector<Window> windows;
  windows.reserve(static_cast<std::size_t>(count));
  for (std::int64_t block = 0;; ++block) {
    for (std::size_t d = 0; d < documents.size(); ++d) {
      if (block >= cut.blocks(tokens_of(documents[d]))) continue;
      Window window;
      window.document = static_cast<std::int64_t>(d);
      window.first_token = block * cut.step;
      window.length = length;
      window.bos = cut.bos;
      window.first_scored = first_scored(protocol, length, block);
      windows.push_back(window);
      if (static_cast<std::int64_t>(windows.size()) == count) return windows;
    }
  }
}

std::vector<std::int32_t> window_tokens(const Corpus& corpus, const Window& window) {
  const auto documents = static_cast<std::int64_t>(corpus.documents.size());
  if (window.document < 0 || window.document >= documents) {
    throw InputError(fmt::format("[windows] document must be from 0 to {} but got {}", documents - 1, window.document));
  }
  if (window.bos && !corpus.bos) throw InputError("[windows] corpus must have a BOS for this window but got none");
  const auto& tokens = corpus.documents[static_cast<std::size_t>(window.document)].tokens;
  const auto held = static_cast<std::int64_t>(tokens.size());
  const std::int64_t taken = window.length - (window.bos ? 1 : 0);
  if (window.first_token < 0 || window.first_token > held || taken < 0 || taken > held - window.first_token) {
    throw InputError(fmt::format("[windows] window must lie within its document's {} tokens but got {} tokens from {}",
                                 held, taken, window.first_token));
  }
  std::vector<std::int32_t> result;
  result.reserve(static_cast<std::size_t>(window.length));
  if (window.bos) result.push_back(*corpus.bos);
  const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(window.first_token);
  result.insert(result.end(), begin, begin + static_cast<std::ptrdiff_t>(taken));
  return result;
}

}  // namespace longrope::model
