// The header of one safetensors file: names, dtypes, shapes and where the data lies, checked against the file's size.
// Format: https://huggingface.co/docs/safetensors (u64 little-endian header length, JSON header, data without holes).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longrope::model {

/// One entry of the header. 0 <= begin <= end, both bytes from the start of the file, within it.
struct TensorEntry {
  std::string name;
  std::string dtype;  ///< as written: "F32", "BF16", "I64", ...
  std::vector<std::int64_t> shape;
  std::int64_t elements = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Reads the header of the file whose bytes are `file`, in the order of the data. `where` is the file's name for
/// messages. Throws InputError naming tensor and byte offset: a header that is truncated, too long or not JSON; wrong
/// types, negative or overflowing shapes and offsets; shape x dtype != bytes; overlaps, holes, bytes that no tensor
/// owns.
std::vector<TensorEntry> read_safetensors_header(std::string_view file, const std::string& where);

}  // namespace longrope::model
