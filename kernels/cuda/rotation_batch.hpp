// Rotation frequencies of several sequences as one kernel parameter, so that a launch serves them all and no memory is
// to be owned. Host arithmetic; touches no device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace longrope::kernels::cuda {

/// A RotationSpec in fixed space.
struct RotationFrequencies {
  static constexpr std::int64_t kMaxPairs = 128;
  double inv_freq[kMaxPairs];
  double leading_inv_freq[kMaxPairs];
  std::int64_t start_tokens;
  std::int64_t pairs;
  double attention_factor;
  bool hf;
};

/// Below 4 KiB with what else a kernel takes, which is what every device and driver allows.
struct RotationBatch {
  static constexpr int kMaxSequences = 16;
  static constexpr int kMaxFrequencies = 384;  // of one sequence with leading ones: 2 kMaxPairs
  struct Sequence {
    std::int64_t start_tokens;
    double attention_factor;
    int first;  ///< of its `pairs` frequencies; those of positions before start_tokens, if there are, follow
    int hf;
  };
  double frequencies[kMaxFrequencies];
  Sequence sequences[kMaxSequences];
  int count;
  int pairs;  ///< of every sequence
};
static_assert(sizeof(RotationBatch) <= 4096 - 256);

/// Packs the first of `sequences`, which have equal pairs, as many as there is room for; returns how many: at least one
/// if there is one.
std::size_t pack_rotations(std::span<const RotationFrequencies* const> sequences, RotationBatch& batch);

}  // namespace longrope::kernels::cuda
