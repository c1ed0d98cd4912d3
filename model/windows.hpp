// What is scored: windows over documents under a protocol. A perplexity never appears without its protocol.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/documents.hpp"

namespace longrope::model {

/// window   LongRoPE's: disjoint blocks, BOS in front, every next token scored.
/// stride:S transformers' recipe: windows of L every S tokens, no BOS; the first scores all, the others the last S.
/// half     llama.cpp's: disjoint windows of L whose first token is replaced by BOS; the second half is scored.
struct Protocol {
  enum class Kind : std::uint8_t { window, stride, half };
  Kind kind = Kind::window;
  std::int64_t stride = 0;  ///< tokens, for Kind::stride

  std::string to_string() const;
  /// Throws InputError for anything but "window", "stride:S" (S > 0), "half".
  static Protocol parse(const std::string& text);
};

struct Window {
  std::int64_t document = 0;      ///< index into Corpus::documents
  std::int64_t first_token = 0;   ///< index in the document of the window's first token that is not BOS
  std::int64_t length = 0;        ///< tokens fed to the model, BOS included
  bool bos = false;               ///< whether BOS stands in front (it counts in length)
  std::int64_t first_scored = 1;  ///< targets at positions first_scored .. length-1 of the window are scored
  /// The positions scored, if not all of these: ascending, each in [1, length).
  std::vector<std::int64_t> targets = {};
  std::int64_t scored_tokens() const {
    return targets.empty() ? length - first_scored : static_cast<std::int64_t>(targets.size());
  }
};

/// The first `count` windows of `length` tokens, round-robin over documents (document 0 block 0, document 1 block 0,
/// ..., document 0 block 1, ...), passing over documents too short for one more block. Throws InputError when there are
/// fewer than `count`, saying how many there are; when length < 2; when a stride exceeds the length.
std::vector<Window> make_windows(const Corpus& corpus, const Protocol& protocol, std::int64_t length,
                                 std::int64_t count);

/// The window's token ids, BOS included: [length].
std::vector<std::int32_t> window_tokens(const Corpus& corpus, const Window& window);

}  // namespace longrope::model
