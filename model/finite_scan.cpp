#include "model/finite_scan.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace longrope::model {

namespace {

constexpr std::int64_t kBlock = 4096;  // elements copied at a time: alignment for the loop, and it stays in L1

/// An element is finite unless all exponent bits (`kExponent`) are set.
template <typename Word, Word kExponent>
std::optional<std::int64_t> scan(const char* data, std::int64_t count) {
  std::array<Word, kBlock> block;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, count - begin);
    std::memcpy(block.data(), data + begin * static_cast<std::int64_t>(sizeof(Word)),
                static_cast<std::size_t>(n) * sizeof(Word));
    Word bad = 0;  // no early exit inside a block, so that the loop vectorises
    for (std::int64_t i = 0; i < n; ++i) {
      bad = static_cast<Word>(bad | ((block[static_cast<std::size_t>(i)] & kExponent) == kExponent ? 1 : 0));
    }
    if (bad == 0) continue;
    for (std::int64_t i = 0; i < n; ++i) {
      if ((block[static_cast<std::size_t>(i)] & kExponent) == kExponent) return begin + i;
    }
  }
  return std::nullopt;
}

template <typename Word>
Word load(const void* data, std::int64_t index) {
  Word word;
  std::memcpy(&word, static_cast<const char*>(data) + index * static_cast<std::int64_t>(sizeof(Word)), sizeof(Word));
  return word;
}

}  // namespace

std::optional<std::int64_t> first_non_finite(const void* data, kernels::DType dtype, std::int64_t count) {
  const auto* const bytes = static_cast<const char*>(data);
  switch (dtype) {
    case kernels::DType::f32:
      return scan<std::uint32_t, 0x7F800000U>(bytes, count);
    case kernels::DType::f16:
      return scan<std::uint16_t, 0x7C00U>(bytes, count);
    case kernels::DType::bf16:
      return scan<std::uint16_t, 0x7F80U>(bytes, count);
  }
  return std::nullopt;
}

bool is_nan_at(const void* data, kernels::DType dtype, std::int64_t index) {
  switch (dtype) {
    case kernels::DType::f32:
      return (load<std::uint32_t>(data, index) & 0x007FFFFFU) != 0;
    case kernels::DType::f16:
      return (load<std::uint16_t>(data, index) & 0x03FFU) != 0;
    case kernels::DType::bf16:
      return (load<std::uint16_t>(data, index) & 0x007FU) != 0;
  }
  return false;
}

}  // namespace longrope::model
