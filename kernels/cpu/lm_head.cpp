#include "kernels/cpu/lm_head.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/check.hpp"
#include "kernels/cpu/aligned.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/row_kernels.hpp"

namespace longrope::kernels {
namespace {

constexpr std::int64_t kVocabularyTile = 1024;

struct LogitsTag {};

/// log(sum of exp(logit)) of one row, tile by tile, and the target's logit.
struct RowState {
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0.0;
  double target = std::numeric_limits<double>::quiet_NaN();

  void add(const LogitSum& tile) {
    const double tile_max = static_cast<double>(tile.max);
    if (tile_max > max) {
      sum = sum * std::exp(max - tile_max) + tile.sum;
      max = tile_max;
    } else {
      sum += tile.sum * std::exp(tile_max - max);
    }
  }

  double nll() const {
    const double value = max + std::log(sum) - target;
    return std::isfinite(value) ? value : std::numeric_limits<double>::quiet_NaN();
  }
};

}  // namespace

CpuLmHead::CpuLmHead(ConstMatrix weight, Precision precision)
    : vocabulary_(weight.rows),
      hidden_(weight.cols),
      activation_(precision == Precision::bf16 ? DType::bf16 : DType::f32) {
  require(vocabulary_ > 0, "lm_head", "the vocabulary must not be empty", vocabulary_);
  require_matrix(weight, "lm_head", "weight", vocabulary_, hidden_, weight.dtype);
  const std::int64_t remainder = vocabulary_ % kVocabularyTile;
  if (vocabulary_ >= kVocabularyTile) full_tile_ = std::make_unique<Gemm>(hidden_, kVocabularyTile, precision, false);
  if (remainder != 0) last_tile_ = std::make_unique<Gemm>(hidden_, remainder, precision, false);
  for (std::int64_t first = 0; first < vocabulary_; first += kVocabularyTile) {
    const std::int64_t count = std::min(kVocabularyTile, vocabulary_ - first);
    const Gemm& gemm = count == kVocabularyTile ? *full_tile_ : *last_tile_;
    packed_.push_back(gemm.pack(weight.row_range(first, count)));
  }
}

void CpuLmHead::nll(ConstMatrix x, std::span<const std::int32_t> targets, std::span<double> nll_nats) const {
  require_matrix(x, "nll", "x", static_cast<std::int64_t>(targets.size()), hidden_, activation_);
  require(nll_nats.size() == targets.size(), "nll", "nll_nats must have one element per target",
          static_cast<std::int64_t>(nll_nats.size()));
  require_ids(targets, vocabulary_, "nll", "targets must be in the vocabulary");
  const bool one_block = x.rows <= kGemmRows;
  parallel_rows(x.rows, kGemmRows, [&](std::int64_t first, std::int64_t count) {
    const auto begin = static_cast<std::size_t>(first);
    const auto size = static_cast<std::size_t>(count);
    nll_block(x.row_range(first, count), targets.subspan(begin, size), nll_nats.subspan(begin, size), one_block);
  });
}

void CpuLmHead::nll_block(ConstMatrix x, std::span<const std::int32_t> targets, std::span<double> nll_nats,
                          bool threads) const {
  const std::size_t rows = targets.size();
  std::vector<LogitSum> sums(static_cast<std::size_t>(tiles()) * rows);
  std::vector<RowState> states(rows);
  const auto reduce = [&](std::int64_t tile) {
    const float* logits = logits_of(tile, x);
    const std::int64_t first = first_of(tile);
    const std::int64_t count = size_of(tile);
    for (std::size_t r = 0; r < rows; ++r) {
      const float* row = logits + static_cast<std::int64_t>(r) * count;
      sums[static_cast<std::size_t>(tile) * rows + r] = logit_sum(row, count);
      if (targets[r] >= first && targets[r] < first + count)
        states[r].target = static_cast<double>(row[targets[r] - first]);
    }
  };
  if (threads) {
    parallel_blocks(tiles(), reduce);
  } else {
    for (std::int64_t tile = 0; tile < tiles(); ++tile) reduce(tile);
  }
  for (std::size_t at = 0; at < sums.size(); ++at) states[at % rows].add(sums[at]);
  for (std::size_t r = 0; r < rows; ++r) nll_nats[r] = states[r].nll();
}

void CpuLmHead::argmax(ConstMatrix x, std::span<std::int32_t> ids) const {
  require_matrix(x, "argmax", "x", static_cast<std::int64_t>(ids.size()), hidden_, activation_);
  // Tiles are tasks: of one row there is no other way to use several threads.
  const std::int64_t row_blocks = (x.rows + kGemmRows - 1) / kGemmRows;
  std::vector<LargestLogit> found(static_cast<std::size_t>(tiles() * x.rows));
  parallel_blocks(row_blocks * tiles(), [&](std::int64_t item) {
    const std::int64_t tile = item % tiles();
    const std::int64_t first_row = item / tiles() * kGemmRows;
    const std::int64_t rows = std::min(kGemmRows, x.rows - first_row);
    const float* logits = logits_of(tile, x.row_range(first_row, rows));
    for (std::int64_t r = 0; r < rows; ++r) {
      LargestLogit largest = largest_logit(logits + r * size_of(tile), size_of(tile));
      if (largest.index >= 0) largest.index += first_of(tile);
      found[static_cast<std::size_t>(tile * x.rows + first_row + r)] = largest;
    }
  });
  for (std::size_t r = 0; r < ids.size(); ++r) {
    LargestLogit best = found[r];
    for (std::size_t at = r + ids.size(); at < found.size() && best.index >= 0; at += ids.size()) {
      if (found[at].index < 0 || found[at].value > best.value) best = found[at];
    }
    ids[r] = static_cast<std::int32_t>(best.index);
  }
}

std::int64_t CpuLmHead::first_of(std::int64_t tile) const { return tile * kVocabularyTile; }
std::int64_t CpuLmHead::size_of(std::int64_t tile) const {
  return std::min(kVocabularyTile, vocabulary_ - first_of(tile));
}

const float* CpuLmHead::logits_of(std::int64_t tile, ConstMatrix x) const {
  const std::int64_t bytes = kGemmRows * kVocabularyTile * static_cast<std::int64_t>(sizeof(float));
  auto* logits = static_cast<float*>(thread_scratch<LogitsTag>(bytes));
  const Gemm& gemm = size_of(tile) == kVocabularyTile ? *full_tile_ : *last_tile_;
  gemm.run(packed_[static_cast<std::size_t>(tile)].get(), nullptr, x.data, logits, x.rows, false);
  return logits;
}

}  // namespace longrope::kernels
