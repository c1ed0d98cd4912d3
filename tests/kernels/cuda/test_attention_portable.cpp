// The portable attention kernel, its own device code, run on the host by an emulation of a block (see
// tests/support/block_emulation), against softmax written out in double precision.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cuda/attention_portable.cuh"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;

namespace {

struct Shape {
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t rows;
  std::int64_t first_position;
  std::int64_t window;
};

using Values = std::vector<__nv_bfloat16>;

constexpr std::int64_t kUnwrittenRows = 130;  // after the filled ones: NaN, as the contract allows

Values random_rows(std::mt19937& random, std::int64_t rows, std::int64_t width, double scale) {
  std::normal_distribution<double> normal(0.0, scale);
  Values values(static_cast<std::size_t>((rows + kUnwrittenRows) * width),
                __float2bfloat16(std::numeric_limits<float>::quiet_NaN()));
  for (std::int64_t i = 0; i < rows * width; ++i) values[i] = __float2bfloat16(static_cast<float>(normal(random)));
  return values;
}

double at(const Values& values, std::int64_t index) { return __bfloat162float(values[index]); }

// One row and head of the answer.
std::vector<double> expected(const Shape& s, const Values& q, const Values& k, const Values& v, std::int64_t row,
                             std::int64_t head) {
  const std::int64_t position = s.first_position + row;
  const std::int64_t first = s.window > 0 ? std::max<std::int64_t>(0, position - s.window + 1) : 0;
  const std::int64_t kv_head = head / (s.heads / s.kv_heads);
  std::vector<double> scores;
  double highest = -std::numeric_limits<double>::infinity();
  for (std::int64_t j = first; j <= position; ++j) {
    double score = 0;
    for (std::int64_t d = 0; d < s.head_dim; ++d) {
      score += at(q, (row * s.heads + head) * s.head_dim + d) * at(k, (j * s.kv_heads + kv_head) * s.head_dim + d);
    }
    scores.push_back(score);
    highest = std::max(highest, score);
  }
  double sum = 0;
  std::vector<double> out(static_cast<std::size_t>(s.head_dim), 0.0);
  for (std::int64_t j = first; j <= position; ++j) {
    const double weight = std::exp(scores[j - first] - highest);
    sum += weight;
    for (std::int64_t d = 0; d < s.head_dim; ++d) {
      out[d] += weight * at(v, (j * s.kv_heads + kv_head) * s.head_dim + d);
    }
  }
  for (double& value : out) value /= sum;
  return out;
}

template <typename Tile>
void check(const Shape& s) {
  CAPTURE(s.heads, s.kv_heads, s.head_dim, s.rows, s.first_position, s.window);
  std::mt19937 random(static_cast<unsigned>(s.head_dim + s.rows));
  const std::int64_t keys = s.first_position + s.rows;
  const Values q = random_rows(random, s.rows, s.heads * s.head_dim, 1.5 / std::sqrt(static_cast<double>(s.head_dim)));
  const Values k = random_rows(random, keys, s.kv_heads * s.head_dim, 1.0);
  const Values v = random_rows(random, keys, s.kv_heads * s.head_dim, 1.0);
  Values out = random_rows(random, 0, s.heads * s.head_dim, 1.0);
  out.resize(q.size(), out.front());

  const PortableAttentionArguments arguments{.q = q.data(),
                                             .k = k.data(),
                                             .v = v.data(),
                                             .out = out.data(),
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

  double error = 0;
  double norm = 0;
  for (std::int64_t row = 0; row < s.rows; ++row) {
    for (std::int64_t head = 0; head < s.heads; ++head) {
      const std::vector<double> want = expected(s, q, k, v, row, head);
      for (std::int64_t d = 0; d < s.head_dim; ++d) {
        const double got = at(out, (row * s.heads + head) * s.head_dim + d);
        REQUIRE(std::isfinite(got));
        error += (got - want[d]) * (got - want[d]);
        norm += want[d] * want[d];
      }
    }
  }
  CHECK(std::sqrt(error / norm) < 4e-3);  // the weights and the output are rounded to bf16: 2^-9 each at most
  std::int64_t written_outside = 0;
  for (std::size_t i = static_cast<std::size_t>(s.rows * s.heads * s.head_dim); i < out.size(); ++i) {
    if (!std::isnan(__bfloat162float(out[i]))) ++written_outside;
  }
  CHECK(written_outside == 0);
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
