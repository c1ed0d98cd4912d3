// Protocols and windows: where each window begins, what it feeds and what it scores.
#include <numeric>
#include <string>
#include <vector>

#include "kernels/error.hpp"
#include "model/windows.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"

namespace {

using longrope::InputError;
using longrope::model::Corpus;
using longrope::model::make_windows;
using longrope::model::Protocol;
using longrope::model::Window;
using longrope::model::window_tokens;
using longrope::tests::ContainsSubstring;
using longrope::tests::message_of;

constexpr std::int32_t kBos = 1;

/// Document d holds 1000*(d+1), 1000*(d+1)+1, ...
Corpus make_corpus(const std::vector<std::int64_t>& sizes, bool bos) {
  Corpus corpus;
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(sizes[d]));
    std::iota(tokens.begin(), tokens.end(), static_cast<std::int32_t>(1000 * (d + 1)));
    corpus.documents.push_back({"d" + std::to_string(d), std::move(tokens)});
  }
  if (bos) corpus.bos = kBos;
  return corpus;
}

/// "document:first_token:first_scored" of each window.
std::string layout(const std::vector<Window>& windows) {
  std::string text;
  for (const Window& w : windows) {
    text += (text.empty() ? "" : " ") + std::to_string(w.document) + ":" + std::to_string(w.first_token) + ":" +
            std::to_string(w.first_scored);
  }
  return text;
}

}  // namespace

TEST_CASE("windows are cut and ordered by the protocol", "[windows]") {
  struct Row {
    const char* protocol;
    bool bos;
    std::vector<std::int64_t> sizes;
    std::int64_t length;
    std::int64_t count;
    const char* expected;
  };
  const std::vector<Row> rows{
      // blocks of L-1 behind BOS: 9 tokens hold three blocks of 3
      {"window", true, {9}, 4, 3, "0:0:1 0:3:1 0:6:1"},
      {"window", false, {9}, 4, 2, "0:0:1 0:4:1"},
      // round-robin; document 1 is too short for a second block, document 2 for any
      {"window", true, {9, 5, 2, 7}, 4, 6, "0:0:1 1:0:1 3:0:1 0:3:1 3:3:1 0:6:1"},
      {"window", true, {2, 3}, 3, 2, "0:0:1 1:0:1"},
      {"window", true, {1}, 2, 1, "0:0:1"},
      // stride: the first scores all, the others the last S; BOS is never put in front
      {"stride:2", true, {10}, 4, 4, "0:0:1 0:2:2 0:4:2 0:6:2"},
      {"stride:4", false, {12}, 4, 3, "0:0:1 0:4:1 0:8:1"},
      {"stride:3", false, {8, 4}, 4, 3, "0:0:1 1:0:1 0:3:1"},
      {"stride:1", false, {5}, 4, 2, "0:0:1 0:1:3"},
      // half: the stream has BOS at 0, so 7 tokens are two chunks of 4, the second without its first token (index 3)
      {"half", true, {7}, 4, 2, "0:0:3 0:4:3"},
      {"half", false, {8}, 4, 2, "0:0:3 0:4:3"},
      {"half", true, {15}, 8, 2, "0:0:5 0:8:5"},
      {"half", false, {7}, 7, 1, "0:0:4"},
      {"half", false, {3}, 3, 1, "0:0:2"},
  };
  for (const Row& row : rows) {
    INFO(row.protocol << " bos " << row.bos << " expected " << row.expected);
    const Corpus corpus = make_corpus(row.sizes, row.bos);
    const Protocol protocol = Protocol::parse(row.protocol);
    CHECK(protocol.to_string() == row.protocol);
    const auto windows = make_windows(corpus, protocol, row.length, row.count);
    CHECK(layout(windows) == row.expected);
    for (const Window& w : windows) {
      CHECK(w.length == row.length);
      CHECK(w.scored_tokens() > 0);
      const auto tokens = window_tokens(corpus, w);
      REQUIRE(tokens.size() == static_cast<std::size_t>(row.length));
      const bool with_bos = row.bos && protocol.kind != Protocol::Kind::stride;
      CHECK(w.bos == with_bos);
      if (with_bos) CHECK(tokens[0] == kBos);
      const std::int32_t first = static_cast<std::int32_t>(1000 * (w.document + 1) + w.first_token);
      CHECK(tokens[with_bos ? 1 : 0] == first);
      CHECK(tokens.back() == first + row.length - (with_bos ? 2 : 1));
    }
    // exactly so many, not one more
    const auto more =
        message_of<InputError>([&] { const auto all = make_windows(corpus, protocol, row.length, 1000); });
    CHECK(more.find("must hold 1000 windows") != std::string::npos);
    CHECK_NOTHROW(make_windows(corpus, protocol, row.length, 1));
  }
}

TEST_CASE("stride windows score every token once", "[windows]") {
  for (const std::int64_t stride : {1, 3, 5, 8}) {
    const Corpus corpus = make_corpus({64}, false);
    const Protocol protocol{Protocol::Kind::stride, stride};
    const auto windows = make_windows(corpus, protocol, 8, (64 - 8) / stride + 1);
    std::vector<int> scored(64, 0);
    for (const Window& w : windows) {
      for (std::int64_t p = w.first_scored; p < w.length; ++p) ++scored[static_cast<std::size_t>(w.first_token + p)];
    }
    CHECK(scored[0] == 0);
    // With S = L the first token of each window has no context in it and is not scored.
    if (stride < 8) {
      for (std::int64_t i = 1; i < windows.back().first_token + 8; ++i) CHECK(scored[static_cast<std::size_t>(i)] == 1);
    }
  }
}

TEST_CASE("impossible windows are refused", "[windows]") {
  struct Row {
    const char* protocol;
    std::int64_t length;
    std::int64_t count;
    const char* expected;
  };
  const std::vector<Row> rows{
      {"window", 1, 1, "length must be at least 2"},
      {"window", -5, 1, "length must be at least 2"},
      {"half", 2, 1, "length must be at least 3"},
      {"stride:9", 8, 1, "stride must be from 1 to the length 8 but got 9"},
      {"window", 8, 0, "count must be at least 1"},
      {"window", 8, -1, "count must be at least 1"},
      {"window", 8, 5,
       "must hold 5 windows of 8 tokens under protocol window but got 4 (tokens per document: d0 20, d1 16)"},
      {"window", INT64_MAX, INT64_MAX, "but got 0"},
      {"half", INT64_MAX, 1, "but got 0"},
      {"stride:9223372036854775807", INT64_MAX, 1, "but got 0"},
  };
  const Corpus corpus = make_corpus({20, 16}, true);
  for (const Row& row : rows) {
    INFO(row.protocol << " " << row.length << " " << row.count);
    const auto message =
        message_of<InputError>([&] { make_windows(corpus, Protocol::parse(row.protocol), row.length, row.count); });
    CHECK_THAT(message, ContainsSubstring(row.expected));
  }
  CHECK(message_of<InputError>([&] { make_windows(Corpus{}, Protocol{}, 8, 1); }).find("but got 0") !=
        std::string::npos);
}

TEST_CASE("protocols parse or are refused", "[windows]") {
  for (const char* text :
       {"", "Window", "window ", "stride", "stride:", "stride:0", "stride:-1", "stride:1.5", "stride:+3", "stride: 3",
        "stride:3x", "stride:99999999999999999999", "half:2", "full\nline"}) {
    INFO(text);
    const auto message = message_of<InputError>([&] { Protocol::parse(text); });
    CHECK_THAT(message, ContainsSubstring("must be window, stride:S"));
    CHECK(message.find('\n') == std::string::npos);
  }
  CHECK(Protocol::parse("stride:512").stride == 512);
}

TEST_CASE("a window outside its corpus is refused", "[windows]") {
  const Corpus corpus = make_corpus({10}, false);
  const auto refused = [&](const Window& w) {
    return !message_of<InputError>([&] { window_tokens(corpus, w); }).empty();
  };
  CHECK(refused({1, 0, 4, false, 1}));
  CHECK(refused({-1, 0, 4, false, 1}));
  CHECK(refused({0, 7, 4, false, 1}));
  CHECK(refused({0, -1, 4, false, 1}));
  CHECK(refused({0, 0, 4, true, 1}));  // no BOS in this corpus
  CHECK(refused({0, 0, INT64_MAX, false, 1}));
  CHECK_FALSE(refused({0, 6, 4, false, 1}));
}
