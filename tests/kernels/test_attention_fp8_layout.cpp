// FP8 attention's arithmetic without a GPU: V's order of keys against the PTX ISA's fragments, what wgmma reads through
// the descriptors, the workspace.
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/cuda/attention_fp8_layout.hpp"
#include "kernels/cuda/attention_hopper_layout.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;

namespace {

/// PTX ISA, D of wgmma m64nN: row and column of register d[i] of a thread of the warpgroup.
std::pair<int, int> accumulator(int thread, int i) {
  const int row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
  return {row, i / 4 * 8 + thread % 4 * 2 + i % 2};
}

/// PTX ISA, A of wgmma m64nNk32 with 8-bit elements: row and column of byte `byte` of register a[i].
std::pair<int, int> operand(int thread, int i, int byte) {
  const int row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8;
  return {row, i / 2 * 16 + thread % 4 * 4 + byte};
}

}  // namespace

TEST_CASE("V's keys stand where a thread's own scores become its operand", "[fp8]") {
  // The consumer packs, of each row, the scores of a group of 32 keys in the order in which it holds them.
  for (int thread = 0; thread < 128; ++thread) {
    for (int group = 0; group < 4; ++group) {
      for (int i = 0; i < 4; ++i) {
        for (int byte = 0; byte < 4; ++byte) {
          const int register_of_row = i / 2 * 4 + byte;  // of the row's eight in this group
          const int d = group * 16 + register_of_row / 2 * 4 + i % 2 * 2 + register_of_row % 2;
          const auto [score_row, key] = accumulator(thread, d);
          const auto [operand_row, column] = operand(thread, i, byte);
          REQUIRE(score_row == operand_row);
          REQUIRE(fp8::value_position(key) == group * 32 + column);
        }
      }
    }
  }
}

TEST_CASE("every key of a tile has a place of its own in V", "[fp8]") {
  std::array<int, fp8::kTileKeys> taken{};
  for (int key = 0; key < fp8::kTileKeys; ++key) ++taken.at(static_cast<std::size_t>(fp8::value_position(key)));
  for (const int count : taken) CHECK(count == 1);
}

TEST_CASE("wgmma reads the 32 bytes of a step where TMA put them", "[fp8]") {
  // K-major, 128-byte swizzle, one panel: row r, byte b of a TMA box lies at 128 r + (b with its 16-byte piece XOR r).
  constexpr std::uint32_t kAddress = 3 * 1024;
  int wrong = 0;
  for (int step = 0; step < 4; ++step) {
    const std::uint64_t descriptor = hopper::row_descriptor(kAddress) + fp8::k_step(step);
    const auto start = static_cast<std::uint32_t>(descriptor & 0x3FFFU) * 16;
    const auto stride = static_cast<std::uint32_t>(descriptor >> 32 & 0x3FFFU) * 16;
    for (std::uint32_t row = 0; row < 128; ++row) {
      for (std::uint32_t k = 0; k < 32; ++k) {
        const std::uint32_t linear = start + row % 8 * 128 + row / 8 * stride + k;
        const std::uint32_t read = linear ^ ((linear >> 7 & 7U) << 4);
        const std::uint32_t byte = static_cast<std::uint32_t>(step) * 32 + k;
        const std::uint32_t written = kAddress + row * 128 + ((byte / 16 ^ row % 8) * 16) + byte % 16;
        if (read != written) ++wrong;
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a chunk sees the keys of its window, or all", "[fp8]") {
  CHECK(fp8::visible_keys(1000, 10, 0) == 1010);
  CHECK(fp8::visible_keys(1000, 10, 1) == 10);     // each row its own key
  CHECK(fp8::visible_keys(1000, 10, 100) == 109);  // the first row sees 99 before itself
  CHECK(fp8::visible_keys(1000, 10, 1000) == 1009);
  CHECK(fp8::visible_keys(1000, 10, 1001) == 1010);
  CHECK(fp8::visible_keys(0, 10, 4) == 10);
}

TEST_CASE("the workspace's parts follow each other, aligned", "[fp8]") {
  const fp8::Workspace w({32, 8, 128, 8192, 131071});
  const std::vector<std::pair<std::int64_t, std::int64_t>> parts{
      {w.q, std::int64_t{8192} * 32 * 128},
      {w.k, std::int64_t{131071} * 8 * 128},
      {w.v, std::int64_t{131072} * 8 * 128},
      {w.q_scales, std::int64_t{8192} * 32 * 4},
      {w.statistics, std::int64_t{256} * 8 * 3 * 128 * 4},
      {w.v_largest, std::int64_t{256} * 8 * 4},
      {w.mean, 8 * 128 * 4},
      {w.kv_scales, 8 * 2 * 4},
  };
  std::int64_t end = 0;
  for (const auto& [offset, bytes] : parts) {
    CHECK(offset % 256 == 0);
    CHECK(offset >= end);
    CHECK(offset < end + 256);
    end = offset + bytes;
  }
  CHECK(w.bytes >= end);
  CHECK(w.bytes < end + 256);
}
