// The Hopper loss kernel, its own device code, run on the host by an emulation of Hopper's clusters (see
// tests/support/block_emulation/hopper), against products and logarithms in double precision.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cuda/loss_hopper_kernel.cuh"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;
using namespace longrope::kernels::cuda::hopper;

namespace {

using Values = std::vector<__nv_bfloat16>;

const __nv_bfloat16 kNaN = __float2bfloat16(std::numeric_limits<float>::quiet_NaN());

Values random_matrix(std::mt19937& random, std::int64_t rows, std::int64_t columns, double scale) {
  std::normal_distribution<double> normal(0.0, scale);
  Values values(static_cast<std::size_t>((rows + 130) * columns), kNaN);  // what lies behind it is not to be read
  for (std::int64_t i = 0; i < rows * columns; ++i) values[i] = __float2bfloat16(static_cast<float>(normal(random)));
  return values;
}

CUtensorMap map_of(const Values& values, std::int64_t rows, std::int64_t columns) {
  return block_emulation::hopper::fake_tensor_map(values.data(), {columns, 1, rows}, {kPanelColumns, 1, 128}, 2);
}

struct Problem {
  std::int64_t rows, vocabulary, columns;
  Values x, weight;
  std::vector<std::int32_t> targets;

  Problem(std::int64_t r, std::int64_t v, std::int64_t c) : rows(r), vocabulary(v), columns(c) {
    std::mt19937 random(static_cast<unsigned>(r + v + c));
    x = random_matrix(random, rows, columns, 2.0 / std::sqrt(static_cast<double>(columns)));
    weight = random_matrix(random, vocabulary, columns, 1.0);
    for (std::int64_t row = 0; row < rows; ++row) {
      targets.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary)));
    }
    targets.front() = static_cast<std::int32_t>(vocabulary - 1);
  }

  std::vector<double> expected() const {
    const std::vector<double> left(x.begin(), x.end());
    const std::vector<double> right(weight.begin(), weight.end());
    std::vector<double> losses;
    for (std::int64_t row = 0; row < rows; ++row) {
      std::vector<double> logits;
      for (std::int64_t v = 0; v < vocabulary; ++v) {
        double logit = 0;
        for (std::int64_t c = 0; c < columns; ++c) logit += left[row * columns + c] * right[v * columns + c];
        logits.push_back(logit);
      }
      const double highest = *std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (const double logit : logits) sum += std::exp(logit - highest);
      losses.push_back(highest + std::log(sum) - logits[targets[row]]);
    }
    return losses;
  }

  /// The rows' losses, from what `clusters` of blocks leave of each tile.
  std::vector<double> run(std::int64_t clusters, unsigned seed) const {
    const LossOrder order(rows, vocabulary);
    std::vector<LogitPartial> partials(static_cast<std::size_t>(order.column_tiles * rows), {NAN, NAN});
    std::vector<float> target_logits(static_cast<std::size_t>(rows), NAN);
    const LossArguments arguments{.x = map_of(x, rows, columns),
                                  .weight = map_of(weight, vocabulary, columns),
                                  .targets = targets.data(),
                                  .partials = partials.data(),
                                  .target_logits = target_logits.data(),
                                  .rows = rows,
                                  .vocabulary = vocabulary,
                                  .order = order,
                                  .steps = static_cast<int>((columns + kPanelColumns - 1) / kPanelColumns)};
    for (std::int64_t cluster = 0; cluster < clusters; ++cluster) {
      block_emulation::hopper::run({.block = static_cast<unsigned>(cluster * kLossCluster),
                                    .grid = static_cast<unsigned>(clusters * kLossCluster),
                                    .threads = kLossThreads,
                                    .dynamic_bytes = kLossSharedBytes,
                                    .cluster = kLossCluster,
                                    .seed = seed},
                                   [&] { loss_hopper_kernel(arguments); });
    }
    std::vector<double> losses;
    for (std::int64_t row = 0; row < rows; ++row) {
      double highest = -std::numeric_limits<double>::infinity();
      double sum = 0;
      const auto partial = [&](std::int64_t tile) { return partials[tile * rows + row]; };
      for (std::int64_t t = 0; t < order.column_tiles; ++t) highest = std::max(highest, double{partial(t).max});
      for (std::int64_t t = 0; t < order.column_tiles; ++t) sum += partial(t).sum * std::exp(partial(t).max - highest);
      losses.push_back(highest + std::log(sum) - target_logits[row]);
    }
    return losses;
  }
};

double largest_difference(const std::vector<double>& got, const std::vector<double>& want) {
  double largest = 0;
  for (std::size_t row = 0; row < want.size(); ++row) {
    const double difference = std::abs(got[row] - want[row]);
    if (!(difference <= largest)) largest = difference;  // NaN, too, and for good
    if (std::isnan(difference)) break;
  }
  return largest;
}

constexpr double kTolerance = 1e-5;  // float32 sums of exact products, float32 exponentials

}  // namespace

TEST_CASE("Hopper loss: rows, entries and columns that fill no tile", "[cuda][loss][hopper]") {
  const Problem tiny(1, 17, 8);
  CHECK(largest_difference(tiny.run(1, 0), tiny.expected()) < kTolerance);
  const Problem small(130, 300, 72);
  CHECK(largest_difference(small.run(2, 0), small.expected()) < kTolerance);
}

TEST_CASE("Hopper loss: a cluster per tile, clusters that take several, in any order of events",
          "[cuda][loss][hopper]") {
  const Problem problem(257, 513, 328);
  const std::vector<double> want = problem.expected();
  CHECK(largest_difference(problem.run(6, 0), want) < kTolerance);
  for (unsigned seed = 0; seed < 3; ++seed) {
    CAPTURE(seed);
    CHECK(largest_difference(problem.run(2, seed), want) < kTolerance);
  }
}

TEST_CASE("Hopper loss: a logit that is not finite spoils its row alone", "[cuda][loss][hopper]") {
  Problem problem(140, 300, 72);
  problem.x[135 * 72 + 5] = kNaN;
  const std::vector<double> got = problem.run(1, 0);
  for (std::int64_t row = 0; row < problem.rows; ++row) {
    CAPTURE(row);
    CHECK(std::isfinite(got[row]) == (row != 135));
  }
}
