// Writes a GGUF v3 file piece by piece: tensors come from where they lie (a mapped file) and are never gathered in
// memory. Format: ggml/docs/gguf.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/atomic_file.hpp"
#include "model/gguf_file.hpp"

namespace longrope::model {

/// A tensor to write.
struct GgufNewTensor {
  std::string name;
  std::vector<std::int64_t> dims;  ///< dims[0] runs fastest
  std::uint32_t type = 0;
  std::string_view data;
  /// Empty: the data as it is. Else row r of the output is row row_source[r] of the data; a row is `row_bytes`.
  std::vector<std::int64_t> row_source;
  std::int64_t row_bytes = 0;

  /// `tensor`, untouched.
  static GgufNewTensor copy_of(const GgufTensor& tensor);
};

/// Appends a whole file: header, keys (each already encoded: key, type, payload), tensors in this order, padding.
/// Throws RuntimeError if the disk fails.
void write_gguf(NewFile& file, std::int64_t alignment, const std::vector<std::string>& values,
                const std::vector<GgufNewTensor>& tensors);

}  // namespace longrope::model
