// UTF-8 as RFC 3629 defines it, and one-line excerpts of untrusted text for messages.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace longrope::model {

/// Offset of the first byte that does not begin or continue a well-formed sequence; nullopt if all of `text` is UTF-8.
/// Overlong forms, surrogates and code points above U+10FFFF are malformed; NUL is a character like any other.
std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// At most `max_bytes` bytes of `text` (then "..."), with control characters and bytes above 0x7E of malformed text
/// written as \xHH, so that whatever a file holds, a message stays one readable line.
std::string excerpt(std::string_view text, std::size_t max_bytes = 80);

/// A path for a message: as `excerpt`, but longer.
std::string path_text(const std::filesystem::path& path);

}  // namespace longrope::model
