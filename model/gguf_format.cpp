#include "model/gguf_format.hpp"

#include <array>
#include <bit>
#include <utility>

namespace longrope::model {
namespace {

template <typename T>
std::string little_endian(T value) {
  std::string bytes(sizeof(T), '\0');
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes[i] = static_cast<char>(value >> (8 * i) & 0xFFU);
  return bytes;
}

}  // namespace

std::optional<std::int64_t> gguf_type_bytes(std::uint32_t type) {
  static constexpr std::array<std::int64_t, 13> kBytes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  if (type >= kBytes.size()) return std::nullopt;
  return kBytes[type];
}

std::optional<GgufBlock> gguf_block(std::uint32_t tensor_type) {
  static constexpr std::pair<std::uint32_t, GgufBlock> kBlocks[] = {
      {0, {"F32", 1, 4}},         {1, {"F16", 1, 2}},         {2, {"Q4_0", 32, 18}},      {3, {"Q4_1", 32, 20}},
      {6, {"Q5_0", 32, 22}},      {7, {"Q5_1", 32, 24}},      {8, {"Q8_0", 32, 34}},      {9, {"Q8_1", 32, 36}},
      {10, {"Q2_K", 256, 84}},    {11, {"Q3_K", 256, 110}},   {12, {"Q4_K", 256, 144}},   {13, {"Q5_K", 256, 176}},
      {14, {"Q6_K", 256, 210}},   {15, {"Q8_K", 256, 292}},   {16, {"IQ2_XXS", 256, 66}}, {17, {"IQ2_XS", 256, 74}},
      {18, {"IQ3_XXS", 256, 98}}, {19, {"IQ1_S", 256, 50}},   {20, {"IQ4_NL", 32, 18}},   {21, {"IQ3_S", 256, 110}},
      {22, {"IQ2_S", 256, 82}},   {23, {"IQ4_XS", 256, 136}}, {24, {"I8", 1, 1}},         {25, {"I16", 1, 2}},
      {26, {"I32", 1, 4}},        {27, {"I64", 1, 8}},        {28, {"F64", 1, 8}},        {29, {"IQ1_M", 256, 56}},
      {30, {"BF16", 1, 2}},       {34, {"TQ1_0", 256, 54}},   {35, {"TQ2_0", 256, 66}},   {39, {"MXFP4", 32, 17}},
      {40, {"NVFP4", 64, 36}},    {41, {"Q1_0", 128, 18}},    {42, {"Q2_0", 64, 18}},
  };
  for (const auto& [type, block] : kBlocks) {
    if (type == tensor_type) return block;
  }
  return std::nullopt;
}

std::string gguf_bytes(std::uint32_t value) { return little_endian(value); }
std::string gguf_bytes(std::uint64_t value) { return little_endian(value); }
std::string gguf_bytes(float value) { return little_endian(std::bit_cast<std::uint32_t>(value)); }

std::string gguf_string(std::string_view text) {
  return gguf_bytes(static_cast<std::uint64_t>(text.size())) + std::string(text);
}

}  // namespace longrope::model
