// cos and sin of every (position, pair) of one candidate, float32, on the CPU.
#pragma once

#include <memory>

#include "kernels/backend.hpp"

namespace longrope::kernels {

class CpuRotationTable final : public RotationTable {
 public:
  /// exact: angle = position * inv_freq, cos and sin, and the factor in double (glibc reduces the angle exactly), one
  /// rounding to float32. hf: as transformers' RotaryEmbedding.forward, float32 throughout, then the activation type.
  CpuRotationTable(const RotationSpec& spec, std::int64_t tokens, Precision precision);

  std::int64_t tokens() const override { return tokens_; }
  std::int64_t pairs() const { return pairs_; }

  const float* cosines(std::int64_t position) const { return cosines_.get() + position * pairs_; }
  const float* sines(std::int64_t position) const { return sines_.get() + position * pairs_; }

 private:
  std::int64_t tokens_;
  std::int64_t pairs_;
  std::shared_ptr<float> cosines_;  // [tokens, pairs]
  std::shared_ptr<float> sines_;    // [tokens, pairs]
};

}  // namespace longrope::kernels
