#include "model/token_files.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "kernels/error.hpp"
#include "model/mapped_file.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

/// Layout of the integers in a file.
struct Integers {
  std::size_t bytes = 0;  ///< 1, 2, 4 or 8
  bool is_signed = false;
  bool big_endian = false;
};

std::int64_t decode(const char* data, const Integers& type) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < type.bytes; ++i) {
    value = value << 8 | static_cast<std::uint8_t>(data[type.big_endian ? i : type.bytes - 1 - i]);
  }
  const unsigned unused = static_cast<unsigned>(64 - 8 * type.bytes);
  if (type.is_signed) return static_cast<std::int64_t>(value << unused) >> unused;
  return value > static_cast<std::uint64_t>(INT64_MAX) ? INT64_MAX : static_cast<std::int64_t>(value);
}

std::vector<Document> decode_document(const std::filesystem::path& path, std::string_view data, const Integers& type,
                                      std::int64_t vocabulary) {
  TokenSink sink(path_text(path), vocabulary);
  for (std::size_t at = 0; at < data.size(); at += type.bytes) sink.add(decode(data.data() + at, type));
  return {{path.filename().string(), sink.take()}};
}

/// The Python literal that follows `'key':` in a .npy header, up to the next key; empty if the key is absent.
std::string_view header_value(std::string_view header, std::string_view key) {
  const std::string quoted = fmt::format("'{}'", key);
  std::size_t at = header.find(quoted);
  if (at == std::string_view::npos) return {};
  at = header.find_first_not_of(' ', at + quoted.size());
  if (at == std::string_view::npos || header[at] != ':') return {};
  at = header.find_first_not_of(' ', at + 1);
  if (at == std::string_view::npos) return {};
  // Up to the closing character of what opens here; nothing nests in the values that we accept.
  const char close = header[at] == '(' ? ')' : header[at] == '\'' ? '\'' : ',';
  const std::size_t end = header.find(close, at + 1);
  return end == std::string_view::npos ? std::string_view{} : header.substr(at, end + 1 - at);
}

/// "'<u2'" and the like; nullopt for anything but integers.
std::optional<Integers> parse_descr(std::string_view text) {
  if (text.size() != 5 || text.front() != '\'' || text.back() != '\'') return std::nullopt;
  const char order = text[1];
  const char kind = text[2];
  const char size = text[3];
  if (std::string_view("<>|=").find(order) == std::string_view::npos) return std::nullopt;
  if ((kind != 'u' && kind != 'i') || std::string_view("1248").find(size) == std::string_view::npos)
    return std::nullopt;
  return Integers{static_cast<std::size_t>(size - '0'), kind == 'i', order == '>'};
}

/// "(123,)"; nullopt for anything but one extent.
std::optional<std::int64_t> parse_shape(std::string_view text) {
  if (text.size() < 4 || text.front() != '(' || text.back() != ')') return std::nullopt;
  std::int64_t extent = 0;
  const char* const end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data() + 1, end, extent);
  while (at != end && *at == ' ') ++at;
  if (error != std::errc() || extent < 0 || *at != ',') return std::nullopt;
  for (++at; at + 1 != end; ++at) {
    if (*at != ' ') return std::nullopt;
  }
  return extent;
}

}  // namespace

std::vector<std::int32_t> TokenSink::take() {
  if (tokens_.empty()) throw InputError(fmt::format("[{}] must hold tokens but got none", where_));
  return std::move(tokens_);
}

void TokenSink::refuse(std::int64_t id) const {
  throw InputError(
      fmt::format("[{}: token index {}] must be in the vocabulary [0, {}) but got {} (tokens of another "
                  "model's tokenizer?)",
                  where_, tokens_.size(), vocabulary_, id));
}

std::vector<Document> read_npy(const std::filesystem::path& path, std::int64_t vocabulary) {
  static constexpr std::string_view kMagic("\x93NUMPY", 6);
  const MappedFile file(path);
  const std::string where = path_text(path);
  const std::string_view bytes = file.bytes();
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  if (bytes.size() < 10 || bytes.substr(0, kMagic.size()) != kMagic) {
    throw InputError(fmt::format("[{}: byte offset 0] must begin with the .npy magic string but got '{}'", where,
                                 excerpt(bytes.substr(0, kMagic.size()))));
  }
  const unsigned version = byte(6);
  const std::size_t header_begin = version == 1 ? 10 : 12;
  if (version < 1 || version > 3 || bytes.size() < header_begin) {
    throw InputError(fmt::format("[{}: byte offset 6] must be .npy version 1, 2 or 3 but got {}", where, version));
  }
  std::size_t header_bytes = byte(8) | static_cast<std::size_t>(byte(9)) << 8;
  if (version > 1) header_bytes |= static_cast<std::size_t>(byte(10)) << 16 | static_cast<std::size_t>(byte(11)) << 24;
  if (header_bytes > bytes.size() - header_begin) {
    throw InputError(fmt::format("[{}: header length at byte offset 8] must be at most {} but got {} (truncated?)",
                                 where, bytes.size() - header_begin, header_bytes));
  }
  const std::string_view header = bytes.substr(header_begin, header_bytes);
  const std::string_view data = bytes.substr(header_begin + header_bytes);
  const auto type = parse_descr(header_value(header, "descr"));
  const auto extent = parse_shape(header_value(header, "shape"));
  if (!type) {
    throw InputError(fmt::format("[{}: descr] must be integers of 1, 2, 4 or 8 bytes but got {}", where,
                                 excerpt(header_value(header, "descr"))));
  }
  if (!extent) {
    throw InputError(
        fmt::format("[{}: shape] must be one-dimensional but got {}", where, excerpt(header_value(header, "shape"))));
  }
  if (data.size() % type->bytes != 0 || data.size() / type->bytes != static_cast<std::size_t>(*extent)) {
    throw InputError(fmt::format("[{}: shape] must fit the {} data bytes from byte offset {} but got {} x {} bytes",
                                 where, data.size(), header_begin + header_bytes, *extent, type->bytes));
  }
  return decode_document(path, data, *type, vocabulary);
}

std::vector<Document> read_raw_tokens(const std::filesystem::path& path, std::int64_t item_bytes,
                                      std::int64_t vocabulary) {
  const MappedFile file(path);
  if (file.size() % item_bytes != 0) {
    throw InputError(fmt::format("[{}] must be a multiple of {} bytes long but got {} bytes", path_text(path),
                                 item_bytes, file.size()));
  }
  return decode_document(path, file.bytes(), {static_cast<std::size_t>(item_bytes), false, false}, vocabulary);
}

}  // namespace longrope::model
