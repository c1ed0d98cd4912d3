#include "model/text_tokenizer.hpp"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <string>
#include <utility>

#include "kernels/error.hpp"
#include "model/mapped_file.hpp"
#include "model/utf8.hpp"

// Exported by the library but in no public header; weak, so that a release without it still links.
namespace sentencepiece::logging {
__attribute__((weak)) void SetMinLogLevel(int level);
}

namespace longrope::model {

namespace {

constexpr std::int64_t kMaxModelBytes = 256 << 20;
constexpr int kLogNothingButFatal = 3;

}  // namespace

struct TextTokenizer::Impl {
  std::filesystem::path path;
  sentencepiece::SentencePieceProcessor processor;
};

TextTokenizer::TextTokenizer(std::filesystem::path model_file) : impl_(std::make_unique<Impl>()) {
  impl_->path = std::move(model_file);
  const std::string bytes = read_small_file(impl_->path, kMaxModelBytes);
  if (sentencepiece::logging::SetMinLogLevel != nullptr) sentencepiece::logging::SetMinLogLevel(kLogNothingButFatal);
  std::string reason;
  try {
    const auto status = impl_->processor.LoadFromSerializedProto(bytes);
    if (status.ok()) return;
    reason = status.ToString();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  throw InputError(fmt::format("[{}] must be a SentencePiece model but got a file it refuses: {}",
                               path_text(impl_->path), excerpt(reason, 200)));
}

TextTokenizer::~TextTokenizer() = default;
TextTokenizer::TextTokenizer(TextTokenizer&&) noexcept = default;
TextTokenizer& TextTokenizer::operator=(TextTokenizer&&) noexcept = default;

std::optional<std::int32_t> TextTokenizer::bos() const {
  const int id = impl_->processor.bos_id();
  return id < 0 ? std::nullopt : std::optional<std::int32_t>(id);
}

std::vector<std::int32_t> TextTokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  std::string reason;
  try {
    const auto status = impl_->processor.Encode(text, &ids);
    if (status.ok()) return ids;
    reason = status.ToString();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  throw InputError(fmt::format("[{}] must encode {} bytes of text but got: {}", path_text(impl_->path), text.size(),
                               excerpt(reason, 200)));
}

std::string TextTokenizer::decode(std::span<const std::int32_t> ids) const {
  std::vector<int> known;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(known),
               [&](std::int32_t id) { return id >= 0 && id < impl_->processor.GetPieceSize(); });
  std::string text, reason;
  try {
    const auto status = impl_->processor.Decode(known, &text);
    if (status.ok()) return text;
    reason = status.ToString();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  throw InputError(
      fmt::format("[{}] must decode {} tokens but got: {}", path_text(impl_->path), ids.size(), excerpt(reason, 200)));
}

std::optional<std::int32_t> TextTokenizer::unknown() const {
  const int id = impl_->processor.unk_id();
  return id < 0 ? std::nullopt : std::optional<std::int32_t>(id);
}

}  // namespace longrope::model
