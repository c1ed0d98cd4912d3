// FP8 attention, its own device code from the quantisation on, run on the host by an emulation of Hopper's blocks:
// the kernel against softmax in double precision over what was quantised, and the whole against exact attention.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/check/attention_fp8_reference.hpp"
#include "kernels/cuda/attention_fp8_kernel.cuh"
#include "kernels/cuda/attention_fp8_quantize.cuh"
#include "tests/support/attention_blocks.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;
using attention_rows::Shape;
using longrope::kernels::check::Doubles;
using longrope::kernels::check::Fp8Inputs;
using longrope::kernels::check::worst_rounding;

namespace {

// As kernels/cuda/attention_fp8.cu chooses them.
using Narrow = hopper::Fp8AttentionConfig<64, 3, 4>;
using Middle = hopper::Fp8AttentionConfig<128, 3, 4>;

void quantize(const fp8::QuantizeArguments& arguments) {
  using block_emulation::Block;
  const fp8::QuantizeBlocks blocks = fp8::quantize_blocks(arguments.shape);
  for (unsigned b = 0; b < blocks.queries; ++b) {
    Block::run(b, fp8::kThreads, [&] { fp8::quantize_queries_kernel(arguments); });
  }
  for (unsigned b = 0; b < blocks.statistics; ++b) {
    Block::run(b, fp8::kThreads, [&] { fp8::key_statistics_kernel(arguments); });
  }
  for (unsigned b = 0; b < blocks.scales; ++b) {
    Block::run(b, fp8::kScaleThreads, [&] { fp8::key_scales_kernel(arguments); });
  }
  for (unsigned b = 0; b < blocks.keys; ++b) {
    Block::run(b, fp8::kThreads, [&] { fp8::quantize_keys_kernel(arguments); });
  }
}

// blocks: see attention_blocks::schedule_of.
template <class Config>
void attend(const AttentionProblem& seen, const fp8::QuantizeArguments& quantized, std::int64_t blocks, unsigned seed) {
  using block_emulation::hopper::fake_tensor_map;
  const hopper::AttentionSchedule schedule = attention_blocks::schedule_of(blocks);
  const std::int64_t padded = fp8::round_up(seen.keys(), fp8::kTileKeys);
  hopper::Fp8AttentionArguments arguments{};
  hopper::AttentionArguments& p = arguments.problem;
  p = hopper::arguments_of<Config>(seen, schedule);
  p.q = fake_tensor_map(quantized.q_out, {seen.head_dim, seen.heads, seen.rows}, {128, 1, Config::kTileRows}, 1);
  p.k = fake_tensor_map(quantized.k_out, {seen.head_dim, seen.kv_heads, seen.keys()}, {128, 1, 128}, 1);
  p.v = fake_tensor_map(quantized.v_out, {padded, seen.head_dim, seen.kv_heads}, {128, Config::kHeadDim, 1}, 1);
  arguments.q_scales = quantized.q_scales;
  arguments.kv_scales = quantized.kv_scales;
  attention_blocks::run<Config>(p.order.tiles, schedule, seed,
                                [&] { hopper::attention_fp8_kernel<Config>(arguments); });
}

// The output against attention over what the workspace holds: relative error of its norm.
double kernel_error(const attention_rows::Problem& data, const Fp8Inputs& in, std::int64_t keys) {
  const Shape& s = data.shape;
  double difference = 0;
  double norm = 0;
  Doubles want(static_cast<std::size_t>(s.head_dim));
  for (std::int64_t row = 0; row < s.rows; ++row) {
    for (std::int64_t head = 0; head < s.heads; ++head) {
      const auto column = static_cast<std::size_t>(head / (s.heads / s.kv_heads) * s.head_dim);
      const std::int64_t first = (row * s.heads + head) * s.head_dim;
      longrope::kernels::check::attend(&in.q[static_cast<std::size_t>(first)], &in.k[column], &in.v[column],
                                       s.kv_heads * s.head_dim, s.head_dim, keys - s.rows + row, s.window, want.data());
      for (std::int64_t d = 0; d < s.head_dim; ++d) {
        const double got = attention_rows::at(data.out, first + d);
        difference += (got - want[d]) * (got - want[d]);
        norm += want[d] * want[d];
      }
    }
  }
  return std::sqrt(difference / norm);
}

// The largest error of rounding Q, centred K and V, in units of what e4m3 allows.
double rounding_error(const attention_rows::Problem& data, const Fp8Inputs& in, std::int64_t keys) {
  const Shape& s = data.shape;
  const std::int64_t columns = s.kv_heads * s.head_dim;
  const std::int64_t unseen = (s.keys() - keys) * columns;
  double worst = 0;
  for (std::int64_t i = 0; i < s.rows * s.heads * s.head_dim; ++i) {
    worst = std::max(worst, worst_rounding(attention_rows::at(data.q, i), in.q[i], in.q_scales[i / s.head_dim]));
  }
  for (std::int64_t i = 0; i < keys * columns; ++i) {
    const std::int64_t head = i % columns / s.head_dim;
    const double centred = attention_rows::at(data.k, unseen + i) - in.mean[i % columns];
    worst = std::max(worst, worst_rounding(centred, in.k[i], in.k_scales[head]));
    worst = std::max(worst, worst_rounding(attention_rows::at(data.v, unseen + i), in.v[i], in.v_scales[head]));
  }
  return worst;
}

void check_mean(const attention_rows::Problem& data, const Fp8Inputs& in, std::int64_t keys) {
  const std::int64_t columns = data.shape.kv_heads * data.shape.head_dim;
  const std::int64_t unseen = data.shape.keys() - keys;
  double worst = 0;
  for (std::int64_t c = 0; c < columns; ++c) {
    double sum = 0;
    for (std::int64_t j = 0; j < keys; ++j) sum += attention_rows::at(data.k, (unseen + j) * columns + c);
    const double mean = sum / static_cast<double>(keys);
    worst = std::max(worst, std::fabs(in.mean[c] - mean) / (1 + std::fabs(mean)));
  }
  CHECK(worst < 1e-5);
}

// As kernel_check's: weights are rounded to 2^-4 at most, 0.026 rms, averaged over the keys; Q and K move scores of
// deviation 1.5 by 0.055, V and the weights add 0.026 each.
constexpr double kKernelTolerance = 0.03;
constexpr double kTolerance = 0.12;

template <class Config>
void check(attention_rows::Problem& data, std::int64_t blocks = 0, unsigned seed = 0) {
  const Shape& s = data.shape;
  CAPTURE(s.heads, s.kv_heads, s.head_dim, s.rows, s.first_position, s.window, blocks, seed);
  const AttentionProblem seen = fp8::without_unseen_keys(attention_blocks::problem_of(data));
  const fp8::WorkspaceShape shape = fp8::shape_of(seen);
  std::vector<unsigned char> workspace(static_cast<std::size_t>(fp8::Workspace(shape).bytes), 0xFF);
  const fp8::QuantizeArguments arguments = fp8::quantize_arguments(seen, workspace.data());
  quantize(arguments);
  const Fp8Inputs in(workspace, shape);
  CHECK(in.padding_is_zero);
  CHECK(rounding_error(data, in, shape.keys) < 1.001);
  check_mean(data, in, shape.keys);
  attend<Config>(seen, arguments, blocks, seed);
  CHECK(kernel_error(data, in, shape.keys) < kKernelTolerance);
  CHECK(data.error() < kTolerance);
  CHECK(data.written_outside() == 0);
}

template <class Config>
void check(const Shape& s, std::int64_t blocks = 0, unsigned seed = 0) {
  attention_rows::Problem data(s);
  check<Config>(data, blocks, seed);
}

}  // namespace

TEST_CASE("FP8 attention: one row, part of a tile, several tiles", "[cuda][attention][fp8]") {
  check<Middle>({1, 1, 128, 1, 0, 0});
  check<Middle>({1, 1, 128, 1, 200, 0});
  check<Middle>({1, 1, 128, 31, 0, 0});
  check<Middle>({1, 1, 128, 257, 63, 0});
  check<Narrow>({1, 1, 64, 1, 0, 0});
  check<Narrow>({1, 1, 64, 33, 500, 0});
  check<Narrow>({1, 1, 64, 257, 130, 0});
}

TEST_CASE("FP8 attention: head_dim 96 in tiles of 128", "[cuda][attention][fp8]") {
  check<Middle>({1, 1, 96, 33, 0, 0});
  check<Middle>({2, 1, 96, 200, 100, 0});
}

TEST_CASE("FP8 attention: query heads share key heads", "[cuda][attention][fp8]") {
  check<Narrow>({4, 2, 64, 40, 30, 0});
  check<Middle>({3, 1, 128, 33, 0, 0});
}

TEST_CASE("FP8 attention: blocks that take tile after tile", "[cuda][attention][fp8]") {
  check<Narrow>({3, 1, 64, 257, 0, 0}, 2);
  check<Middle>({2, 2, 128, 200, 700, 0}, 1);
}

TEST_CASE("FP8 attention: sliding windows of one key, part of a tile, a tile and more", "[cuda][attention][fp8]") {
  for (const std::int64_t window : {1, 20, 128, 200, 1000}) check<Narrow>({1, 1, 64, 193, 250, window});
  check<Middle>({1, 1, 128, 257, 250, 40}, 1);
}

TEST_CASE("FP8 attention: whatever order warps, copies and products come in", "[cuda][attention][fp8]") {
  for (unsigned seed = 1; seed <= 3; ++seed) check<Middle>({2, 1, 128, 200, 150, 0}, 1, seed);
}

TEST_CASE("FP8 attention: what all keys have in common costs nothing", "[cuda][attention][fp8]") {
  attention_rows::Problem data({2, 1, 128, 130, 400, 0});
  // As a bias of the key projection: 30 times the keys' own deviation. Rounded with it they would be noise.
  for (std::size_t i = 0; i < data.k.size(); ++i) {
    const double offset = i % 128 % 2 == 0 ? 30.0 : -20.0;
    data.k[i] = __float2bfloat16(static_cast<float>(__bfloat162float(data.k[i]) + offset));
  }
  check<Middle>(data);
}

TEST_CASE("FP8 attention: zeros and the smallest numbers give no NaN", "[cuda][attention][fp8]") {
  attention_rows::Problem data({1, 1, 64, 33, 40, 0});
  for (std::size_t i = 0; i < 73 * 64; ++i) data.k[i] = __float2bfloat16(0.0F);
  for (std::size_t i = 0; i < 33 * 64; ++i) data.q[i] = __float2bfloat16(i < 10 * 64 ? 0.0F : 1e-30F);
  check<Narrow>(data);
}

TEST_CASE("FP8 attention: many small weights count beside a large one", "[cuda][attention][fp8]") {
  // The first key takes 8.3 more than the others' average, as an attention sink does: their weights are around 2^-12 of
  // its own, which alone an e4m3 would not hold. Its V is zero, so that the output is theirs.
  attention_rows::Problem data({1, 1, 64, 33, 500, 0});
  for (std::size_t i = 0; i < 33 * 64; ++i) data.q[i] = __float2bfloat16(0.125F);
  for (std::size_t i = 0; i < 64; ++i) {
    data.k[i] = __float2bfloat16(1.04F);
    data.v[i] = __float2bfloat16(0.0F);
  }
  check<Narrow>(data);
}

TEST_CASE("FP8 attention: the mean and the scales of thousands of keys", "[cuda][attention][fp8]") {
  // More than the statistics of one round: kScaleSlices blocks of kStatisticsKeys keys.
  check<Narrow>({1, 1, 64, 3, fp8::kScaleSlices * fp8::kStatisticsKeys + 700, 0});
}
