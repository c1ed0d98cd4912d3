// A checkpoint's SentencePiece tokenizer.model: text to token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longrope::model {

class TextTokenizer {
 public:
  /// Throws InputError: unreadable, too large, or not a SentencePiece model.
  explicit TextTokenizer(std::filesystem::path model_file);
  ~TextTokenizer();
  TextTokenizer(TextTokenizer&&) noexcept;
  TextTokenizer& operator=(TextTokenizer&&) noexcept;

  /// The id of the beginning-of-sequence piece, if the model has one.
  std::optional<std::int32_t> bos() const;
  /// Ids of the whole text, as SentencePiece's Encode gives them; no BOS or EOS. Precondition: `text` is UTF-8 of at
  /// most kMaxTextBytes. Throws InputError when SentencePiece refuses.
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// Text of ids, as SentencePiece's Decode gives it: no space in front, U+FFFD for bytes that are no UTF-8. Control
  /// pieces are left out, as are ids that the tokenizer does not have (a model's vocabulary may be padded).
  std::string decode(std::span<const std::int32_t> ids) const;
  /// The id that stands for text without a piece, if the model has one.
  std::optional<std::int32_t> unknown() const;

  static constexpr std::int64_t kMaxTextBytes = std::int64_t{1} << 30;  ///< SentencePiece counts symbols in int

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace longrope::model
