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
  parallel_rows(x.rows, kGemmRows, [&](std::int64_t first, std::int64_t count) {
    const auto begin = static_cast<std::size_t>(first);
    const auto size = static_cast<std::size_t>(count);
    nll_block(x.row_range(first, count), targets.subspan(begin, size), nll_nats.subspan(begin, size));
  });
}

void CpuLmHead::nll_block(ConstMatrix x, std::span<const std::int32_t> targets, std::span<double> nll_nats) const {
  std::vector<RowState> rows(targets.size());
  const std::int64_t bytes = kGemmRows * kVocabularyTile * static_cast<std::int64_t>(sizeof(float));
  auto* logits = static_cast<float*>(thread_scratch<LogitsTag>(bytes));
  for (std::size_t tile = 0; tile < packed_.size(); ++tile) {
    const std::int64_t first = static_cast<std::int64_t>(tile) * kVocabularyTile;
    const std::int64_t count = std::min(kVocabularyTile, vocabulary_ - first);
    const Gemm& gemm = count == kVocabularyTile ? *full_tile_ : *last_tile_;
    gemm.run(packed_[tile].get(), nullptr, x.data, logits, x.rows, false);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const float* row = logits + static_cast<std::int64_t>(r) * count;
      rows[r].add(logit_sum(row, count));
      if (targets[r] >= first && targets[r] < first + count)
        rows[r].target = static_cast<double>(row[targets[r] - first]);
    }
  }
  for (std::size_t r = 0; r < rows.size(); ++r) nll_nats[r] = rows[r].nll();
}

}  // namespace longrope::kernels
