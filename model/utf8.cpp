#include "model/utf8.hpp"

#include <cstdint>
#include <cstring>

namespace longrope::model {

namespace {

constexpr std::size_t kMaxPathBytes = 500;

/// Length of the well-formed sequence at `text[at]`, 0 if there is none (RFC 3629, section 4).
std::size_t sequence_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
  const std::size_t left = text.size() - at;
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (left < length) return 0;
  // The second byte's range is what excludes overlong forms, surrogates and code points above U+10FFFF.
  const std::uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const std::uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t eight = 0;
    while (text.size() - at >= sizeof(eight)) {  // runs of ASCII, eight bytes at a time
      std::memcpy(&eight, text.data() + at, sizeof(eight));
      if ((eight & 0x8080808080808080U) != 0) break;
      at += sizeof(eight);
    }
    if (at == text.size()) break;
    const std::size_t length = sequence_length(text, at);
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

std::string excerpt(std::string_view text, std::size_t max_bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = sequence_length(text, at);
    const std::size_t step = length == 0 ? 1 : length;
    if (at + step > max_bytes) return out + "...";
    const auto byte = static_cast<std::uint8_t>(text[at]);
    const bool control = byte < 0x20 || byte == 0x7F || (length == 2 && byte == 0xC2 && text[at + 1] < '\xA0');
    if (length == 0 || control) {
      for (std::size_t i = 0; i < step; ++i) {
        const auto escaped = static_cast<std::uint8_t>(text[at + i]);
        out += "\\x";
        out += kDigits[escaped >> 4];
        out += kDigits[escaped & 15];
      }
    } else {
      out += text.substr(at, step);
    }
    at += step;
  }
  return out;
}

std::string path_text(const std::filesystem::path& path) {
  return excerpt(std::string_view(path.native()), kMaxPathBytes);
}

}  // namespace longrope::model
