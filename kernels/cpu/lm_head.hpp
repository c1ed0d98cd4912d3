// Output projection and cross-entropy, or the largest logit, in one pass over vocabulary tiles: logits [tokens,
// vocabulary] never exist.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.hpp"
#include "kernels/cpu/gemm.hpp"

namespace longrope::kernels {

class CpuLmHead final : public LmHead {
 public:
  CpuLmHead(ConstMatrix weight, Precision precision);

  std::int64_t vocabulary() const override { return vocabulary_; }

  /// As Backend::nll. Logits in float32, their exponentials summed in double.
  void nll(ConstMatrix x, std::span<const std::int32_t> targets, std::span<double> nll_nats) const;

  /// As Backend::argmax.
  void argmax(ConstMatrix x, std::span<std::int32_t> ids) const;

 private:
  std::int64_t tiles() const { return static_cast<std::int64_t>(packed_.size()); }
  /// Logits of one tile of the vocabulary, in the thread's scratch: [x.rows, entries of the tile].
  const float* logits_of(std::int64_t tile, ConstMatrix x) const;
  std::int64_t first_of(std::int64_t tile) const;
  std::int64_t size_of(std::int64_t tile) const;
  /// threads: tiles may use all of the caller's arena.
  void nll_block(ConstMatrix x, std::span<const std::int32_t> targets, std::span<double> nll_nats, bool threads) const;

  std::int64_t vocabulary_;
  std::int64_t hidden_;
  DType activation_;
  std::unique_ptr<Gemm> full_tile_;  // null if the vocabulary is smaller than a tile
  std::unique_ptr<Gemm> last_tile_;  // null if the tiles divide the vocabulary
  std::vector<std::shared_ptr<void>> packed_;
};

}  // namespace longrope::kernels
