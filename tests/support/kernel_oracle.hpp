// The operations of kernels/backend.hpp in plain double precision. Shares no code with what it checks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace longrope::oracle {

using Doubles = std::vector<double>;

/// The nearest bfloat16 (8 significant bits, ties to even) of a finite value in the normal range.
inline double bf16(double value) {
  if (value == 0.0 || !std::isfinite(value)) return value;
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

inline std::size_t at(std::int64_t row, std::int64_t cols, std::int64_t col) {
  return static_cast<std::size_t>(row * cols + col);
}

/// sum of x[i] * w[i], and of |x[i] * w[i]|, which float32 rounding errors are proportional to.
struct Dot {
  double value = 0.0;
  double magnitude = 0.0;
};
inline Dot dot(const double* x, const double* w, std::int64_t n) {
  Dot result;
  for (std::int64_t i = 0; i < n; ++i) {
    result.value += x[i] * w[i];
    result.magnitude += std::abs(x[i] * w[i]);
  }
  return result;
}

/// y[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]
inline Doubles rms_norm(const double* x, const Doubles& weight, double epsilon) {
  double squares = 0.0;
  for (std::size_t i = 0; i < weight.size(); ++i) squares += x[i] * x[i];
  const double norm = std::sqrt(squares / static_cast<double>(weight.size()) + epsilon);
  Doubles y(weight.size());
  for (std::size_t i = 0; i < weight.size(); ++i) y[i] = x[i] / norm * weight[i];
  return y;
}

/// Rotates pairs (i, i + d/2) of a head by position * inv_freq[i] in long double, scaled by the attention factor.
inline Doubles rotate(Doubles head, const Doubles& inv_freq, std::int64_t position, double factor) {
  const std::size_t half = inv_freq.size();
  for (std::size_t i = 0; i < half; ++i) {
    const long double angle = static_cast<long double>(position) * static_cast<long double>(inv_freq[i]);
    const auto cosine = static_cast<double>(std::cos(angle)) * factor;
    const auto sine = static_cast<double>(std::sin(angle)) * factor;
    const double a = head[i];
    const double b = head[i + half];
    head[i] = a * cosine - b * sine;
    head[i + half] = a * sine + b * cosine;
  }
  return head;
}

/// Attention of one query at `position` over keys 0 .. position of one head; q already scaled.
/// k and v are [tokens, stride] starting at the head's column.
inline Doubles attend(const double* q, const double* k, const double* v, std::int64_t stride, std::int64_t head_dim,
                      std::int64_t position, std::int64_t window) {
  const std::int64_t first = window > 0 ? std::max<std::int64_t>(0, position - window + 1) : 0;
  Doubles scores;
  for (std::int64_t j = first; j <= position; ++j) scores.push_back(dot(q, k + j * stride, head_dim).value);
  const double highest = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  Doubles out(static_cast<std::size_t>(head_dim), 0.0);
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const double p = std::exp(scores[j] - highest);
    sum += p;
    for (std::int64_t i = 0; i < head_dim; ++i) {
      out[static_cast<std::size_t>(i)] += p * v[(first + static_cast<std::int64_t>(j)) * stride + i];
    }
  }
  for (double& value : out) value /= sum;
  return out;
}

/// log(sum(exp(logits))) - logits[target]
inline double nll(const Doubles& logits, std::int64_t target) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum) - logits[static_cast<std::size_t>(target)];
}

}  // namespace longrope::oracle
