// A GGUF v3 file, mapped and checked: its keys with their values, its tensors and where their data lies.
// Format: ggml/docs/gguf.md; what is refused follows ggml/src/gguf.cpp and goes beyond it where that trusts the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf_format.hpp"
#include "model/mapped_file.hpp"

namespace longrope::model {

/// A key and its value. The views lie in the file.
struct GgufValue {
  std::string_view key;
  GgufType type = GgufType::u8;
  GgufType element = GgufType::u8;  ///< of an array
  std::int64_t count = 1;           ///< elements of an array
  std::string_view payload;         ///< after the type: a number, a string with its length, an array's elements
  std::string_view encoded;         ///< key, type and payload as they stand in the file
};

/// A tensor. The views lie in the file.
struct GgufTensor {
  std::string_view name;
  std::vector<std::int64_t> dims;  ///< dims[0] runs fastest
  std::uint32_t type = 0;
  std::int64_t row_bytes = 0;  ///< of dims[0] elements
  std::string_view data;

  std::int64_t rows() const;  ///< product of dims[1..]
};

class GgufFile {
 public:
  /// Throws InputError naming file, key or tensor, and byte offset: another version or byte order, counts and lengths
  /// beyond the file, names that are not UTF-8 or come twice, unknown types, an alignment that is no power of two,
  /// shapes that overflow or split a block, data that is not where the tensors before it end, or bytes left over.
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  std::int64_t size() const { return file_.size(); }
  std::int64_t alignment() const { return alignment_; }
  const std::vector<GgufValue>& values() const { return values_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  const GgufValue* find(std::string_view key) const;
  const GgufTensor* find_tensor(std::string_view name) const;
  /// nullopt if the key is absent. Throws InputError if its value is of another kind.
  std::optional<std::string> find_string(std::string_view key) const;
  /// Any integer type; throws InputError if negative, too.
  std::optional<std::int64_t> find_integer(std::string_view key) const;
  std::optional<float> find_float(std::string_view key) const;

 private:
  MappedFile file_;
  std::int64_t alignment_ = 32;
  std::vector<GgufValue> values_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace longrope::model
