// Row-wise operations: embedding lookup, RMSNorm, gated SiLU.
#pragma once

#include <memory>
#include <span>

#include "kernels/backend.hpp"

namespace longrope::kernels {

/// The rows as they were given, in their own element type.
class CpuEmbedding final : public Embedding {
 public:
  explicit CpuEmbedding(ConstMatrix weight);

  std::int64_t vocabulary() const override { return vocabulary_; }

  /// As Backend::embed. Throws InputError for an id outside the vocabulary.
  void look_up(std::span<const std::int32_t> ids, Matrix hidden) const;

 private:
  std::int64_t vocabulary_;
  std::int64_t hidden_;
  DType dtype_;
  std::shared_ptr<void> rows_;
};

/// As Backend::rms_norm. y may be f32 or bf16.
void rms_norm(ConstMatrix x, std::span<const float> weight, float epsilon, Matrix y);

/// As Backend::gated_silu. y may be f32 or bf16.
void gated_silu(ConstMatrix gate_up, Matrix y);

}  // namespace longrope::kernels
