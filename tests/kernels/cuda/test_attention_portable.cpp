// The portable attention kernel, its own device code, run on the host by an emulation of a block (see
// tests/support/block_emulation), against softmax written out in double precision.
#include "kernels/cuda/attention_portable.cuh"
#include "tests/support/attention_rows.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;

namespace {

template <typename Tile>
void check(const attention_rows::Shape& s) {
  CAPTURE(s.heads, s.kv_heads, s.head_dim, s.rows, s.first_position, s.window);
  attention_rows::Problem problem(s);
  const PortableAttentionArguments arguments{.q = problem.q.data(),
                                             .k = problem.k.data(),
                                             .v = problem.v.data(),
                                             .out = problem.out.data(),
                                             .heads = s.heads,
                                             .kv_heads = s.kv_heads,
                                             .head_dim = s.head_dim,
                                             .rows = s.rows,
                                             .first_position = s.first_position,
                                             .sliding_window = s.window,
                                             .row_tiles = (s.rows + Tile::kRows - 1) / Tile::kRows};
  for (std::int64_t b = 0; b < arguments.row_tiles * s.heads; ++b) {
    Block::run(static_cast<unsigned>(b), Tile::kThreads, [&] { portable_attention_kernel<Tile>(arguments); });
  }
  CHECK(problem.error() < 4e-3);  // the weights and the output are rounded to bf16: 2^-9 each at most
  CHECK(problem.written_outside() == 0);
}

}  // namespace

TEST_CASE("portable attention: one row, part of a tile, several tiles", "[cuda][attention]") {
  using Tile = PortableAttentionTile<128, 4, 32, 64, 2, false, 2>;
  check<Tile>({1, 1, 128, 1, 0, 0});
  check<Tile>({1, 1, 128, 1, 200, 0});
  check<Tile>({1, 1, 128, 31, 0, 0});
  check<Tile>({1, 1, 128, 130, 63, 0});
}

TEST_CASE("portable attention: query heads share key heads", "[cuda][attention]") {
  using Tile = PortableAttentionTile<64, 4, 32, 64, 2, false, 2>;
  check<Tile>({4, 2, 64, 40, 30, 0});
  check<Tile>({3, 1, 64, 33, 0, 0});
}

TEST_CASE("portable attention: sliding windows of one key, part of a tile, a tile and more", "[cuda][attention]") {
  using Tile = PortableAttentionTile<64, 4, 32, 64, 2, false, 2>;
  for (const std::int64_t window : {1, 20, 64, 100, 1000}) check<Tile>({1, 1, 64, 140, 150, window});
}

TEST_CASE("portable attention: head_dims that fill a tile and those that do not", "[cuda][attention]") {
  check<PortableAttentionTile<64, 4, 32, 64, 2, false, 2>>({1, 1, 32, 33, 40, 0});
  check<PortableAttentionTile<64, 4, 32, 64, 2, false, 2>>({1, 1, 40, 33, 40, 0});
  check<PortableAttentionTile<96, 4, 32, 64, 2, false, 2>>({1, 1, 96, 130, 40, 0});
  check<PortableAttentionTile<96, 4, 32, 64, 2, false, 2>>({1, 1, 80, 33, 40, 50});
  check<PortableAttentionTile<128, 4, 32, 64, 2, false, 2>>({1, 1, 120, 33, 40, 0});
  check<PortableAttentionTile<256, 4, 16, 32, 2, false, 2>>({1, 1, 256, 70, 40, 0});
  check<PortableAttentionTile<256, 4, 16, 32, 2, false, 2>>({1, 1, 192, 65, 40, 30});
}

TEST_CASE("portable attention: queries in registers, three stages, eight warps", "[cuda][attention]") {
  check<PortableAttentionTile<64, 8, 16, 64, 2, true, 1>>({1, 1, 64, 150, 90, 0});
  check<PortableAttentionTile<64, 4, 32, 32, 3, false, 2>>({1, 1, 64, 150, 90, 70});
}
