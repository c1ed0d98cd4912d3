#include "model/gguf_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>
#include <utility>

#include "kernels/error.hpp"
#include "model/utf8.hpp"

namespace longrope::model {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<std::int64_t>::max();
constexpr std::uint32_t kMaxDims = 4;            // GGML_MAX_DIMS
constexpr std::size_t kMaxTensorNameBytes = 63;  // GGML_MAX_NAME less its terminator
constexpr std::size_t kMaxKeyBytes = 65535;      // ggml/docs/gguf.md
constexpr std::int64_t kMaxAlignment = 1 << 20;

/// Walks the file; every read is checked against its end.
class Cursor {
 public:
  Cursor(std::string_view file, std::string where) : file_(file), where_(std::move(where)) {}

  std::size_t at() const { return at_; }
  std::size_t left() const { return file_.size() - at_; }
  std::string_view since(std::size_t begin) const { return file_.substr(begin, at_ - begin); }

  template <typename T>
  T number(const std::string& what) {
    static_assert(std::endian::native == std::endian::little);
    T value;
    const std::string_view bytes = take(sizeof(T), what);
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  std::string_view take(std::uint64_t bytes, const std::string& what) {
    if (bytes > left()) {
      fail(what, fmt::format("end within the file's {} bytes but got {} bytes", file_.size(), bytes), "truncated?");
    }
    const std::string_view taken = file_.substr(at_, static_cast<std::size_t>(bytes));
    at_ += taken.size();
    return taken;
  }

  std::string_view text(const std::string& what, std::uint64_t most) {
    const auto length = number<std::uint64_t>(what);
    if (length > most) fail(what, fmt::format("be at most {} bytes but got {}", most, length));
    const std::string_view text = take(length, what);
    if (const auto bad = first_invalid_utf8(text)) {
      fail(what,
           fmt::format("be UTF-8 but got byte 0x{:02x} at its byte {}", static_cast<std::uint8_t>(text[*bad]), *bad));
    }
    return text;
  }

  [[noreturn]] void fail(const std::string& what, const std::string& rule, const std::string& hint = "") const {
    throw InputError(fmt::format("[{}: {} at byte offset {}] must {}{}", where_, what, at_, rule,
                                 hint.empty() ? "" : fmt::format(" ({})", hint)));
  }

 private:
  std::string_view file_;
  std::string where_;
  std::size_t at_ = 0;
};

GgufType read_type(Cursor& cursor, const std::string& what) {
  const auto type = cursor.number<std::uint32_t>(what);
  if (!gguf_type_bytes(type)) cursor.fail(what, fmt::format("have a value type from 0 to 12 but got {}", type));
  return static_cast<GgufType>(type);
}

void check_boolean(const Cursor& cursor, std::string_view bytes, const std::string& what) {
  for (const char byte : bytes) {
    if (byte != 0 && byte != 1) {
      cursor.fail(what, fmt::format("be the boolean 0 or 1 but got {}", static_cast<std::uint8_t>(byte)));
    }
  }
}

GgufValue read_value(Cursor& cursor, std::int64_t index) {
  GgufValue value;
  const std::size_t begin = cursor.at();
  value.key = cursor.text(fmt::format("key {}", index), kMaxKeyBytes);
  if (value.key.empty()) cursor.fail(fmt::format("key {}", index), "not be empty");
  const std::string what = fmt::format("key '{}'", excerpt(value.key));
  value.type = read_type(cursor, what);
  value.element = value.type;
  const std::size_t payload = [&] {
    if (value.type != GgufType::array) return cursor.at();
    value.element = read_type(cursor, what);
    if (value.element == GgufType::array) cursor.fail(what, "not be an array of arrays");
    const auto count = cursor.number<std::uint64_t>(what);
    if (count > cursor.left()) {  // no element takes less than a byte
      cursor.fail(what, fmt::format("have as many elements as the file has bytes for but got {}", count), "truncated?");
    }
    value.count = static_cast<std::int64_t>(count);
    return cursor.at();
  }();
  const auto element_bytes = static_cast<std::uint64_t>(*gguf_type_bytes(static_cast<std::uint32_t>(value.element)));
  if (value.element == GgufType::string) {
    for (std::int64_t i = 0; i < value.count; ++i) {
      // Vocabularies hold raw bytes: what llama.cpp reads as tokens need not be UTF-8.
      const auto length = cursor.number<std::uint64_t>(what);
      const std::string_view text = cursor.take(length, what);
      if (value.type != GgufType::array && first_invalid_utf8(text)) cursor.fail(what, "be UTF-8");
    }
  } else {
    const auto count = static_cast<std::uint64_t>(value.count);
    if (count > cursor.left() / element_bytes) {
      cursor.fail(what, fmt::format("have as many elements as the file has bytes for but got {}", count), "truncated?");
    }
    const std::string_view bytes = cursor.take(count * element_bytes, what);
    if (value.element == GgufType::boolean) check_boolean(cursor, bytes, what);
  }
  value.payload = cursor.since(payload);
  value.encoded = cursor.since(begin);
  return value;
}

struct TensorPlace {
  GgufTensor tensor;
  std::uint64_t offset = 0;
  std::int64_t bytes = 0;
};

TensorPlace read_tensor(Cursor& cursor, std::int64_t index) {
  TensorPlace place;
  GgufTensor& tensor = place.tensor;
  tensor.name = cursor.text(fmt::format("name of tensor {}", index), kMaxTensorNameBytes);
  const std::string what = fmt::format("tensor '{}'", excerpt(tensor.name));
  const auto dims = cursor.number<std::uint32_t>(what);
  if (dims < 1 || dims > kMaxDims) cursor.fail(what, fmt::format("have 1 to {} dimensions but got {}", kMaxDims, dims));
  std::int64_t elements = 1;
  for (std::uint32_t i = 0; i < dims; ++i) {
    const auto extent = cursor.number<std::uint64_t>(what);
    if (extent < 1 || extent > static_cast<std::uint64_t>(kMaxInt / elements)) {
      cursor.fail(what, fmt::format("have a shape of 1 to {} elements but dimension {} is {}", kMaxInt, i, extent));
    }
    tensor.dims.push_back(static_cast<std::int64_t>(extent));
    elements *= static_cast<std::int64_t>(extent);
  }
  tensor.type = cursor.number<std::uint32_t>(what);
  const auto block = gguf_block(tensor.type);
  if (!block) cursor.fail(what, fmt::format("have a known tensor type but got {}", tensor.type));
  if (tensor.dims[0] % block->elements != 0) {
    cursor.fail(what, fmt::format("have rows of whole {} blocks of {} but got {} elements", block->name,
                                  block->elements, tensor.dims[0]));
  }
  const std::int64_t blocks = elements / block->elements;
  if (blocks > kMaxInt / block->bytes) cursor.fail(what, fmt::format("have a size within {} bytes", kMaxInt));
  tensor.row_bytes = tensor.dims[0] / block->elements * block->bytes;
  place.bytes = blocks * block->bytes;
  place.offset = cursor.number<std::uint64_t>(what);
  return place;
}

std::uint64_t padded(std::uint64_t bytes, std::uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace

std::int64_t GgufTensor::rows() const {
  std::int64_t rows = 1;
  for (std::size_t i = 1; i < dims.size(); ++i) rows *= dims[i];
  return rows;
}

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) {
  const std::string where = path_text(path);
  Cursor cursor(file_.bytes(), where);
  if (cursor.take(std::min<std::size_t>(4, cursor.left()), "magic") != "GGUF") {
    throw InputError(fmt::format("[{}: byte offset 0] must begin with 'GGUF' but got '{}' (not a GGUF file)", where,
                                 excerpt(file_.bytes().substr(0, 4))));
  }
  const auto version = cursor.number<std::uint32_t>("version");
  if (version != kGgufVersion) {
    cursor.fail("version", fmt::format("be 3 but got {}", version),
                (version & 0xFFFFU) == 0 ? "big-endian: convert it with gguf-convert-endian"
                                         : "convert the model again with a llama.cpp of 2023-11 or newer");
  }
  const auto tensors = cursor.number<std::uint64_t>("tensor count");
  const auto keys = cursor.number<std::uint64_t>("key count");
  // The smallest key takes 14 bytes, the smallest tensor 32: a lying count ends here, before anything is allocated.
  if (keys > cursor.left() / 14)
    cursor.fail("key count", fmt::format("fit into the file but got {}", keys), "truncated?");
  if (tensors > cursor.left() / 32) {
    cursor.fail("tensor count", fmt::format("fit into the file but got {}", tensors), "truncated?");
  }
  std::unordered_set<std::string_view> seen;
  for (std::uint64_t i = 0; i < keys; ++i) {
    values_.push_back(read_value(cursor, static_cast<std::int64_t>(i)));
    if (!seen.insert(values_.back().key).second) {
      cursor.fail(fmt::format("key '{}'", excerpt(values_.back().key)), "be there once but comes twice");
    }
  }
  if (const GgufValue* value = find("general.alignment"); value != nullptr) {
    if (value->type != GgufType::u32) cursor.fail("key 'general.alignment'", "be a u32");
    alignment_ = *find_integer("general.alignment");
    if (alignment_ < 1 || alignment_ > kMaxAlignment || !std::has_single_bit(static_cast<std::uint64_t>(alignment_))) {
      cursor.fail("key 'general.alignment'",
                  fmt::format("be a power of two up to {} but got {}", kMaxAlignment, alignment_));
    }
  }
  std::vector<TensorPlace> places;
  seen.clear();
  for (std::uint64_t i = 0; i < tensors; ++i) {
    places.push_back(read_tensor(cursor, static_cast<std::int64_t>(i)));
    if (!seen.insert(places.back().tensor.name).second) {
      cursor.fail(fmt::format("tensor '{}'", excerpt(places.back().tensor.name)), "be there once but comes twice");
    }
  }
  const auto alignment = static_cast<std::uint64_t>(alignment_);
  const std::uint64_t data_begin = padded(cursor.at(), alignment);
  const std::uint64_t data_bytes = data_begin <= file_.bytes().size() ? file_.bytes().size() - data_begin : 0;
  std::uint64_t next = 0;
  for (TensorPlace& place : places) {
    const std::string what = fmt::format("tensor '{}'", excerpt(place.tensor.name));
    const auto bytes = static_cast<std::uint64_t>(place.bytes);
    if (place.offset != next) {
      cursor.fail(what, fmt::format("begin where the tensor before it ends, at data offset {}, but got {}", next,
                                    place.offset));
    }
    if (bytes > data_bytes || place.offset > data_bytes - bytes) {
      cursor.fail(what, fmt::format("end within the {} data bytes but takes {} at {}", data_bytes, bytes, place.offset),
                  "is the file truncated?");
    }
    place.tensor.data = file_.bytes().substr(data_begin + place.offset, bytes);
    next = padded(place.offset + bytes, alignment);
    tensors_.push_back(std::move(place.tensor));
  }
  // Writers pad the last tensor too; some leave that out.
  if (!places.empty() && data_bytes > next) {
    cursor.fail("data",
                fmt::format("end with the last tensor, at data offset {}, but got {} data bytes", next, data_bytes));
  }
}

const GgufValue* GgufFile::find(std::string_view key) const {
  for (const GgufValue& value : values_) {
    if (value.key == key) return &value;
  }
  return nullptr;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  for (const GgufTensor& tensor : tensors_) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::optional<std::string> GgufFile::find_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::string) {
    throw InputError(fmt::format("[{}: key '{}'] must be a string", path_text(path()), key));
  }
  return std::string(value->payload.substr(sizeof(std::uint64_t)));
}

std::optional<std::int64_t> GgufFile::find_integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto read = [&](auto number) {
    std::memcpy(&number, value->payload.data(), sizeof(number));
    return std::in_range<std::int64_t>(number) ? static_cast<std::int64_t>(number) : std::int64_t{-1};
  };
  std::int64_t result = -1;
  switch (value->type) {
    case GgufType::u8:
      result = read(std::uint8_t{});
      break;
    case GgufType::i8:
      result = read(std::int8_t{});
      break;
    case GgufType::u16:
      result = read(std::uint16_t{});
      break;
    case GgufType::i16:
      result = read(std::int16_t{});
      break;
    case GgufType::u32:
      result = read(std::uint32_t{});
      break;
    case GgufType::i32:
      result = read(std::int32_t{});
      break;
    case GgufType::u64:
      result = read(std::uint64_t{});
      break;
    case GgufType::i64:
      result = read(std::int64_t{});
      break;
    default:
      break;
  }
  if (result < 0) throw InputError(fmt::format("[{}: key '{}'] must be an integer >= 0", path_text(path()), key));
  return result;
}

std::optional<float> GgufFile::find_float(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::f32) {
    throw InputError(fmt::format("[{}: key '{}'] must be a float32", path_text(path()), key));
  }
  float result = 0.0F;
  std::memcpy(&result, value->payload.data(), sizeof(result));
  return result;
}

}  // namespace longrope::model
