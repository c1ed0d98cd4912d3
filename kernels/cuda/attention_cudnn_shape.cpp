#include "kernels/cuda/attention_cudnn_shape.hpp"

#include <algorithm>
#include <limits>

#include "kernels/cuda/attention_rule.hpp"

namespace longrope::kernels::cuda {

namespace {

constexpr std::int64_t kMostKeys = std::numeric_limits<std::int32_t>::max();  // the mask's indices are int32
constexpr std::int64_t kMostWindowedKeys = std::int64_t{1} << 24;  // the window's comparison is made in float32

}  // namespace

std::string cudnn_attention_rule(const AttentionProblem& problem) {
  std::string broken = attention_rule(problem);
  if (!broken.empty()) return broken;
  const std::int64_t keys = problem.keys();
  if (keys > kMostKeys) return "keys must be below 2^31 but got " + std::to_string(keys);
  if (problem.sliding_window > 0 && keys > kMostWindowedKeys) {
    return "keys must not exceed 2^24 with a sliding window but got " + std::to_string(keys);
  }
  return {};
}

CudnnAttentionShape cudnn_attention_shape(const AttentionProblem& problem) {
  const std::int64_t keys = problem.keys() - cudnn_attention_hidden_keys(problem);
  return {.heads = problem.heads,
          .kv_heads = problem.kv_heads,
          .head_dim = problem.head_dim,
          .rows = problem.rows,
          .keys = keys,
          .sliding_window = problem.sliding_window < keys ? problem.sliding_window : 0};
}

std::int64_t cudnn_attention_hidden_keys(const AttentionProblem& problem) {
  if (problem.rows != 1 || problem.sliding_window == 0) return 0;
  return std::max<std::int64_t>(0, problem.keys() - problem.sliding_window);
}

CudnnAttentionFamily cudnn_attention_family(const CudnnAttentionShape& shape) {
  return {.heads = shape.heads,
          .kv_heads = shape.kv_heads,
          .head_dim = shape.head_dim,
          .windowed = shape.sliding_window > 0,
          .one_row = shape.rows == 1};
}

}  // namespace longrope::kernels::cuda
