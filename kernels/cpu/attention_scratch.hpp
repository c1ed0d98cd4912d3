// What a work item of attention keeps between its steps (see attention_block.hpp).
#pragma once

#include <cstdint>

#include "kernels/cpu/attention_block.hpp"
#include "kernels/cpu/kv_buffer.hpp"

namespace longrope::kernels {

inline constexpr std::int64_t kRowGroup = 8;                      // rows whose products share loads of K and V
inline constexpr std::int64_t kScoreStride = kKeyBlock + kPanel;  // not a power of two: rows differ in cache set

/// Scratch of one work item, in floats.
struct AttentionScratch {
  float* queries;     // [kQueryBlock/8][head_dim][8]; bf16: [kQueryBlock/8][key_cols/2][8] pairs of columns
  float* scores;      // [kQueryBlock][kScoreStride], then probabilities; bf16: in the first half of each row
  float* output;      // [kQueryBlock][value_cols], not yet divided by `sum`
  float* max;         // [kQueryBlock] running maximum
  float* sum;         // [kQueryBlock] running sum of exp(score - max)
  float* correction;  // [kQueryBlock] exp(old max - new max)

  static std::int64_t floats(std::int64_t head_dim) {
    const std::int64_t cols = round_up(head_dim, kPanel);
    return kQueryBlock * (2 * cols + kScoreStride + 3);
  }
  AttentionScratch(void* memory, std::int64_t head_dim) {
    const std::int64_t cols = round_up(head_dim, kPanel);
    auto* next = static_cast<float*>(memory);
    const auto take = [&next](std::int64_t count) {
      float* taken = next;
      next += count;
      return taken;
    };
    queries = take(kQueryBlock * cols);
    scores = take(kQueryBlock * kScoreStride);
    output = take(kQueryBlock * cols);
    max = take(kQueryBlock);
    sum = take(kQueryBlock);
    correction = take(kQueryBlock);
  }
};

}  // namespace longrope::kernels
