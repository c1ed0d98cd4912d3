// A problem of attention with random inputs on the device, and what its rows should be.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"
#include "kernels/cuda/attention.hpp"

namespace longrope::kernels::check {

struct AttentionCase {
  std::int64_t heads = 4;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 128;
  std::int64_t rows = 257;
  std::int64_t first_position = 0;
  std::int64_t sliding_window = 0;
  double score_deviation = 1.5;
  double key_offset = 0.0;  ///< deviation of what all keys of a column have in common, as a bias gives it
};

inline std::string label(const AttentionCase& c) {
  return "heads " + std::to_string(c.heads) + "/" + std::to_string(c.kv_heads) + " head_dim " +
         std::to_string(c.head_dim) + " rows " + std::to_string(c.rows) + " at " + std::to_string(c.first_position) +
         " window " + std::to_string(c.sliding_window);
}

/// The rows that are compared: all of few, else the ends, a stride through the rest.
inline std::vector<std::int64_t> sampled_rows(std::int64_t rows) {
  std::vector<std::int64_t> sample;
  const std::int64_t stride = rows <= 64 ? 1 : (rows <= 300 ? 3 : 37);
  for (std::int64_t r = 0; r < rows; r += stride) sample.push_back(r);
  if (sample.back() != rows - 1) sample.push_back(rows - 1);
  return sample;
}

inline std::vector<float> random_keys(const AttentionCase& c, std::int64_t keys) {
  const std::int64_t columns = c.kv_heads * c.head_dim;
  std::vector<float> k = random_values(keys * columns);
  if (c.key_offset == 0.0) return k;
  const std::vector<float> offset = random_values(columns, c.key_offset);
  for (std::size_t i = 0; i < k.size(); ++i) {
    k[i] = static_cast<float>(round_bf16(static_cast<double>(k[i] + offset[i % offset.size()])));
  }
  return k;
}

/// Inputs of a case on the device, K and V longer than what is filled: the rest stays NaN, as fresh memory may be.
struct AttentionInputs {
  explicit AttentionInputs(const AttentionCase& c)
      : keys(c.first_position + c.rows),
        q(random_values(c.rows * c.heads * c.head_dim, c.score_deviation / std::sqrt(static_cast<double>(c.head_dim)))),
        k(random_keys(c, keys)),
        v(random_values(keys * c.kv_heads * c.head_dim)),
        device_q(c.rows, c.heads * c.head_dim, DType::bf16, q),
        device_k(keys + 200, c.kv_heads * c.head_dim, DType::bf16, k),
        device_v(keys + 200, c.kv_heads * c.head_dim, DType::bf16, v) {}

  Doubles expected(const AttentionCase& c) const {
    const Doubles qs = doubles(q);
    const Doubles ks = doubles(k);
    const Doubles vs = doubles(v);
    Doubles all;
    Doubles out(static_cast<std::size_t>(c.head_dim));
    for (const std::int64_t r : sampled_rows(c.rows)) {
      for (std::int64_t h = 0; h < c.heads; ++h) {
        const std::int64_t column = h / (c.heads / c.kv_heads) * c.head_dim;
        attend(&qs[at(r, c.heads * c.head_dim, h * c.head_dim)], &ks[static_cast<std::size_t>(column)],
               &vs[static_cast<std::size_t>(column)], c.kv_heads * c.head_dim, c.head_dim, c.first_position + r,
               c.sliding_window, out.data());
        all.insert(all.end(), out.begin(), out.end());
      }
    }
    return all;
  }

  std::int64_t keys;
  std::vector<float> q, k, v;
  DeviceData device_q, device_k, device_v;
};

inline cuda::AttentionProblem problem_of(const AttentionCase& c) {
  cuda::AttentionProblem problem;
  problem.heads = c.heads;
  problem.kv_heads = c.kv_heads;
  problem.head_dim = c.head_dim;
  problem.rows = c.rows;
  problem.first_position = c.first_position;
  problem.sliding_window = c.sliding_window;
  return problem;
}

}  // namespace longrope::kernels::check
