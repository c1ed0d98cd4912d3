#include "kernels/cuda/attention_rule.hpp"

namespace longrope::kernels::cuda {

namespace {

std::string broken(const char* rule, std::int64_t value) {
  return std::string(rule) + " but got " + std::to_string(value);
}

}  // namespace

std::string attention_rule(const AttentionProblem& problem) {
  if (problem.head_dim < 32 || problem.head_dim > 256 || problem.head_dim % 8 != 0) {
    return broken("head_dim must be a multiple of 8 from 32 to 256", problem.head_dim);
  }
  if (problem.kv_heads < 1) return broken("kv_heads must be positive", problem.kv_heads);
  if (problem.heads < 1 || problem.heads % problem.kv_heads != 0) {
    return broken("heads must be a positive multiple of kv_heads", problem.heads);
  }
  if (problem.rows < 1) return broken("rows must be positive", problem.rows);
  if (problem.first_position < 0) return broken("first_position must not be negative", problem.first_position);
  if (problem.sliding_window < 0) return broken("sliding_window must not be negative", problem.sliding_window);
  return {};
}

}  // namespace longrope::kernels::cuda
