// What GGUF v3 files are made of: value types, tensor types with their blocks, and the little-endian encoding of both.
// Format: ggml/docs/gguf.md; block sizes: llama.cpp's gguf-py/gguf/constants.py (GGML_QUANT_SIZES), ggml/src/ggml.c.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope::model {

inline constexpr std::uint32_t kGgufVersion = 3;

enum class GgufType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12
};

/// Bytes of one value; 0 for string and array, nullopt for a number that is no type.
std::optional<std::int64_t> gguf_type_bytes(std::uint32_t type);

/// How a tensor type packs its rows: `bytes` for every `elements`.
struct GgufBlock {
  std::string_view name;
  std::int64_t elements = 0;
  std::int64_t bytes = 0;
};

constexpr std::uint32_t kGgufTensorF32 = 0;

/// nullopt for a number that is no tensor type, or one that was removed.
std::optional<GgufBlock> gguf_block(std::uint32_t tensor_type);

/// `value` as it stands in a file, little-endian.
std::string gguf_bytes(std::uint32_t value);
std::string gguf_bytes(std::uint64_t value);
std::string gguf_bytes(float value);
/// The length, then the text.
std::string gguf_string(std::string_view text);

}  // namespace longrope::model
