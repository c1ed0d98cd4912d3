// The Hopper attention kernel, its own device code, run on the host by an emulation of Hopper's blocks (see
// tests/support/block_emulation/hopper), against softmax written out in double precision.
#include <cstdint>

#include "kernels/cuda/attention_hopper_kernel.cuh"
#include "tests/support/attention_blocks.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda::hopper;

namespace {

// As kernels/cuda/attention_hopper.cu chooses them.
using Narrow = AttentionConfig<64, 128, 3, 2, true>;
using Middle = AttentionConfig<128, 128, 3, 2, false>;
using Wide = AttentionConfig<256, 64, 2, 2, true>;

// blocks: see attention_blocks::schedule_of.
template <class Config>
void check(const attention_rows::Shape& s, std::int64_t blocks = 0, unsigned seed = 0) {
  CAPTURE(s.heads, s.kv_heads, s.head_dim, s.rows, s.first_position, s.window, blocks, seed);
  attention_rows::Problem problem(s);
  const auto map = [&s](const attention_rows::Values& values, std::int64_t heads, std::int64_t rows, int box_rows) {
    return block_emulation::hopper::fake_tensor_map(values.data(), {s.head_dim, heads, rows},
                                                    {kPanelColumns, 1, box_rows}, 2);
  };
  const AttentionSchedule schedule = attention_blocks::schedule_of(blocks);
  AttentionArguments arguments = arguments_of<Config>(attention_blocks::problem_of(problem), schedule);
  arguments.q = map(problem.q, s.heads, s.rows, Config::kTileRows);
  arguments.k = map(problem.k, s.kv_heads, s.keys(), Config::kTileKeys);
  arguments.v = map(problem.v, s.kv_heads, s.keys(), Config::kTileKeys);
  attention_blocks::run<Config>(arguments.order.tiles, schedule, seed,
                                [&] { attention_hopper_kernel<Config>(arguments); });
  CHECK(problem.error() < 4e-3);  // the weights and the output are rounded to bf16: 2^-9 each at most
  CHECK(problem.written_outside() == 0);
}

}  // namespace

TEST_CASE("Hopper attention: one row, part of a tile, several tiles", "[cuda][attention][hopper]") {
  check<Middle>({1, 1, 128, 1, 0, 0});
  check<Middle>({1, 1, 128, 1, 200, 0});
  check<Middle>({1, 1, 128, 31, 0, 0});
  check<Middle>({1, 1, 128, 257, 63, 0});
  check<Narrow>({1, 1, 64, 1, 0, 0});
  check<Narrow>({1, 1, 64, 33, 500, 0});
  check<Narrow>({1, 1, 64, 257, 130, 0});
  check<Wide>({1, 1, 256, 1, 64, 0});
  check<Wide>({1, 1, 256, 129, 150, 0});
}

TEST_CASE("Hopper attention: head_dim 96 in tiles of 128", "[cuda][attention][hopper]") {
  check<Middle>({1, 1, 96, 33, 0, 0});
  check<Middle>({2, 1, 96, 200, 100, 0});
}

TEST_CASE("Hopper attention: query heads share key heads", "[cuda][attention][hopper]") {
  check<Narrow>({4, 2, 64, 40, 30, 0});
  check<Middle>({3, 1, 128, 33, 0, 0});
}

TEST_CASE("Hopper attention: blocks that take tile after tile", "[cuda][attention][hopper]") {
  check<Narrow>({3, 1, 64, 257, 0, 0}, 2);
  check<Middle>({3, 1, 128, 257, 100, 0}, 2);
  check<Middle>({2, 2, 128, 200, 0, 0}, 1);
  check<Wide>({3, 1, 256, 129, 0, 0}, 2);
}

TEST_CASE("Hopper attention: sliding windows of one key, part of a tile, a tile and more",
          "[cuda][attention][hopper]") {
  for (const std::int64_t window : {1, 20, 128, 200, 1000}) {
    check<Narrow>({1, 1, 64, 193, 250, window});
    check<Middle>({1, 1, 128, 33, 250, window});
  }
  check<Wide>({1, 1, 256, 65, 150, 30});
  check<Middle>({1, 1, 128, 257, 250, 40}, 1);
}

TEST_CASE("Hopper attention: whatever order warps, copies and products come in", "[cuda][attention][hopper]") {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    check<Narrow>({2, 1, 64, 200, 150, 0}, 1, seed);
    check<Middle>({2, 1, 128, 200, 150, 0}, 1, seed);
    check<Wide>({2, 1, 256, 100, 150, 0}, 1, seed);
  }
}
