// Attention problems for device code that runs on the host: random rows of bf16, and the answer as softmax written out
// in double precision.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace attention_rows {

struct Shape {
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t rows;
  std::int64_t first_position;
  std::int64_t window;

  std::int64_t keys() const { return first_position + rows; }
};

using Values = std::vector<__nv_bfloat16>;

constexpr std::int64_t kUnwrittenRows = 130;  // after the filled ones: NaN, as the contract allows

inline Values random_rows(std::mt19937& random, std::int64_t rows, std::int64_t width, double scale) {
  std::normal_distribution<double> normal(0.0, scale);
  Values values(static_cast<std::size_t>((rows + kUnwrittenRows) * width),
                __float2bfloat16(std::numeric_limits<float>::quiet_NaN()));
  for (std::int64_t i = 0; i < rows * width; ++i) values[i] = __float2bfloat16(static_cast<float>(normal(random)));
  return values;
}

inline double at(const Values& values, std::int64_t index) { return __bfloat162float(values[index]); }

/// q, k and v of a shape, and an output that nobody has written yet.
struct Problem {
  Shape shape;
  Values q, k, v, out;

  explicit Problem(const Shape& s) : shape(s) {
    std::mt19937 random(static_cast<unsigned>(s.head_dim + s.rows));
    q = random_rows(random, s.rows, s.heads * s.head_dim, 1.5 / std::sqrt(static_cast<double>(s.head_dim)));
    k = random_rows(random, s.keys(), s.kv_heads * s.head_dim, 1.0);
    v = random_rows(random, s.keys(), s.kv_heads * s.head_dim, 1.0);
    out = random_rows(random, 0, s.heads * s.head_dim, 1.0);
    out.resize(q.size(), out.front());
  }

  /// One row and head of the answer.
  std::vector<double> expected(std::int64_t row, std::int64_t head) const {
    const Shape& s = shape;
    const std::int64_t position = s.first_position + row;
    const std::int64_t first = s.window > 0 ? std::max<std::int64_t>(0, position - s.window + 1) : 0;
    const std::int64_t kv_head = head / (s.heads / s.kv_heads);
    std::vector<double> scores;
    double highest = -std::numeric_limits<double>::infinity();
    for (std::int64_t j = first; j <= position; ++j) {
      double score = 0;
      for (std::int64_t d = 0; d < s.head_dim; ++d) {
        score += at(q, (row * s.heads + head) * s.head_dim + d) * at(k, (j * s.kv_heads + kv_head) * s.head_dim + d);
      }
      scores.push_back(score);
      highest = std::max(highest, score);
    }
    double sum = 0;
    std::vector<double> answer(static_cast<std::size_t>(s.head_dim), 0.0);
    for (std::int64_t j = first; j <= position; ++j) {
      const double weight = std::exp(scores[j - first] - highest);
      sum += weight;
      for (std::int64_t d = 0; d < s.head_dim; ++d) {
        answer[d] += weight * at(v, (j * s.kv_heads + kv_head) * s.head_dim + d);
      }
    }
    for (double& value : answer) value /= sum;
    return answer;
  }

  /// Root of the squared error of `out` over that of the answer; NaN where any value is.
  double error() const {
    double difference = 0;
    double norm = 0;
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        const std::vector<double> want = expected(row, head);
        for (std::int64_t d = 0; d < shape.head_dim; ++d) {
          const double got = at(out, (row * shape.heads + head) * shape.head_dim + d);
          difference += (got - want[d]) * (got - want[d]);
          norm += want[d] * want[d];
        }
      }
    }
    return std::sqrt(difference / norm);
  }

  /// Elements after the last row that were written all the same.
  std::int64_t written_outside() const {
    std::int64_t count = 0;
    for (std::size_t i = static_cast<std::size_t>(shape.rows * shape.heads * shape.head_dim); i < out.size(); ++i) {
      if (!std::isnan(__bfloat162float(out[i]))) ++count;
    }
    return count;
  }
};

}  // namespace attention_rows
