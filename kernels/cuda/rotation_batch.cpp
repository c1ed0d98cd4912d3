#include "kernels/cuda/rotation_batch.hpp"

#include <algorithm>

namespace longrope::kernels::cuda {

std::size_t pack_rotations(std::span<const RotationFrequencies* const> sequences, RotationBatch& batch) {
  batch.count = 0;
  batch.pairs = sequences.empty() ? 0 : static_cast<int>(sequences.front()->pairs);
  int used = 0;
  for (const RotationFrequencies* f : sequences) {
    const int needed = (f->start_tokens > 0 ? 2 : 1) * batch.pairs;
    if (batch.count == RotationBatch::kMaxSequences || used + needed > RotationBatch::kMaxFrequencies) break;
    std::copy_n(f->inv_freq, batch.pairs, batch.frequencies + used);
    if (f->start_tokens > 0) std::copy_n(f->leading_inv_freq, batch.pairs, batch.frequencies + used + batch.pairs);
    batch.sequences[batch.count++] = {f->start_tokens, f->attention_factor, used, f->hf ? 1 : 0};
    used += needed;
  }
  return static_cast<std::size_t>(batch.count);
}

}  // namespace longrope::kernels::cuda
