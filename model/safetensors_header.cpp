#include "model/safetensors_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "kernels/error.hpp"
#include "model/json_input.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

using nlohmann::json;

constexpr std::int64_t kPrefixBytes = 8;
constexpr std::int64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::size_t kMaxRank = 16;
constexpr std::int64_t kMaxSize = std::numeric_limits<std::int64_t>::max();

/// Bytes of one element; nullopt for dtypes we do not know and for those smaller than a byte (F4, F6).
std::optional<std::int64_t> bytes_of_dtype(std::string_view dtype) {
  static constexpr std::array<std::pair<std::string_view, std::int64_t>, 20> kTable{
      {{"BOOL", 1},        {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1},
       {"F8_E5M2FNUZ", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},     {"BF16", 2},    {"I32", 4},     {"U32", 4},
       {"F32", 4},         {"F64", 8}, {"I64", 8}, {"U64", 8},     {"C64", 8},     {"C128", 16}}};
  const auto* const at =
      std::find_if(kTable.begin(), kTable.end(), [&](const auto& row) { return row.first == dtype; });
  return at == kTable.end() ? std::nullopt : std::optional(at->second);
}

/// Non-negative integers of a JSON list.
std::vector<std::int64_t> read_sizes(const JsonObject& entry, const std::string& key, std::size_t low,
                                     std::size_t high) {
  const std::string rule = low == high ? fmt::format("a list of {} integers >= 0", low)
                                       : fmt::format("a list of at most {} integers >= 0", high);
  if (!entry.has(key)) entry.refuse(key, rule);
  const json& list = entry.value(key);
  if (!list.is_array() || list.size() < low || list.size() > high) entry.refuse(key, rule);
  std::vector<std::int64_t> sizes;
  for (const json& item : list) {
    if (!item.is_number_unsigned() || item.get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxSize)) {
      throw InputError(fmt::format("[{}: {}[{}]] must be an integer from 0 to {} but got {}", entry.where(), key,
                                   sizes.size(), kMaxSize, excerpt_of(item)));
    }
    sizes.push_back(item.get<std::int64_t>());
  }
  return sizes;
}

/// Product of a shape; throws InputError when it exceeds int64.
std::int64_t count_elements(const JsonObject& entry, const std::vector<std::int64_t>& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::int64_t elements = 1;
  for (const std::int64_t extent : shape) {
    if (elements > kMaxSize / extent) {
      throw InputError(fmt::format("[{}: shape] must have at most {} elements but got [{}]", entry.where(), kMaxSize,
                                   fmt::join(shape, ", ")));
    }
    elements *= extent;
  }
  return elements;
}

/// One tensor of the header; the data section begins at byte `data_begin` of the file and is `data_bytes` long.
TensorEntry read_entry(const std::string& name, const json& value, const std::string& where, std::int64_t data_begin,
                       std::int64_t data_bytes) {
  const JsonObject entry(value, fmt::format("{}: tensor '{}'", where, excerpt(name)));
  TensorEntry result;
  result.name = name;
  const auto dtype = entry.find_string("dtype");
  if (!dtype) entry.refuse("dtype", "a string");
  result.dtype = *dtype;
  result.shape = read_sizes(entry, "shape", 0, kMaxRank);
  result.elements = count_elements(entry, result.shape);
  const auto offsets = read_sizes(entry, "data_offsets", 2, 2);
  if (offsets[0] > offsets[1] || offsets[1] > data_bytes) {
    throw InputError(
        fmt::format("[{}: data_offsets] must be ordered and end within the {} data bytes but got [{}, {}] "
                    "(data begins at byte offset {}; is the file truncated?)",
                    entry.where(), data_bytes, offsets[0], offsets[1], data_begin));
  }
  const std::int64_t bytes = offsets[1] - offsets[0];
  if (const auto item = bytes_of_dtype(result.dtype)) {
    if (result.elements > kMaxSize / *item || result.elements * *item != bytes) {
      throw InputError(fmt::format("[{}: data_offsets] must span shape [{}] of {} but got {} bytes at byte offset {}",
                                   entry.where(), fmt::join(result.shape, ", "), excerpt(result.dtype), bytes,
                                   data_begin + offsets[0]));
    }
  } else if (result.elements / 8 > bytes) {  // even one bit per element would not fit
    throw InputError(fmt::format("[{}: shape] must fit into {} bytes but got [{}]", entry.where(), bytes,
                                 fmt::join(result.shape, ", ")));
  }
  result.begin = data_begin + offsets[0];
  result.end = data_begin + offsets[1];
  return result;
}

/// `__metadata__` must map strings to strings.
void check_metadata(const json& value, const std::string& where) {
  const JsonObject metadata(value, where + ": __metadata__");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) metadata.refuse(key, "a string");
  }
}

/// Entries, in the order of their data, must cover [data_begin, file_bytes) exactly.
void check_coverage(const std::vector<TensorEntry>& entries, const std::string& where, std::int64_t data_begin,
                    std::int64_t file_bytes) {
  std::int64_t next = data_begin;
  for (const TensorEntry& entry : entries) {
    if (entry.begin != next) {
      throw InputError(
          fmt::format("[{}: tensor '{}'] must begin where the tensor before it ends, at byte offset {}, "
                      "but got byte offset {} ({})",
                      where, excerpt(entry.name), next, entry.begin,
                      entry.begin < next ? "tensors overlap" : "a hole in the data"));
    }
    next = entry.end;
  }
  if (next != file_bytes) {
    throw InputError(
        fmt::format("[{}] must end with its last tensor at byte offset {} but got {} bytes", where, next, file_bytes));
  }
}

}  // namespace

std::vector<TensorEntry> read_safetensors_header(std::string_view file, const std::string& where) {
  const auto file_bytes = static_cast<std::int64_t>(file.size());
  if (file_bytes < kPrefixBytes) {
    throw InputError(fmt::format("[{}: byte offset 0] must hold an 8-byte header length but got a file of {} bytes",
                                 where, file_bytes));
  }
  std::uint64_t claimed = 0;
  for (int i = 7; i >= 0; --i) claimed = claimed << 8 | static_cast<std::uint8_t>(file[static_cast<std::size_t>(i)]);
  const std::int64_t most = std::min(kMaxHeaderBytes, file_bytes - kPrefixBytes);
  if (claimed > static_cast<std::uint64_t>(most)) {
    throw InputError(fmt::format("[{}: header length at byte offset 0] must be at most {} but got {} ({})", where, most,
                                 claimed, "not a safetensors file, or truncated"));
  }
  const auto header_bytes = static_cast<std::int64_t>(claimed);
  const std::string_view text = file.substr(kPrefixBytes, static_cast<std::size_t>(header_bytes));
  if (text.empty() || text.front() != '{') {
    throw InputError(fmt::format("[{}: byte offset {}] must begin a JSON header with '{{' but got '{}'", where,
                                 kPrefixBytes, excerpt(text.substr(0, 1))));
  }
  const json header = parse_json_object(text, where + ": header", kPrefixBytes);

  const std::int64_t data_begin = kPrefixBytes + header_bytes;
  std::vector<TensorEntry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      check_metadata(value, where);
    } else {
      entries.push_back(read_entry(name, value, where, data_begin, file_bytes - data_begin));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_coverage(entries, where, data_begin, file_bytes);
  return entries;
}

}  // namespace longrope::model
