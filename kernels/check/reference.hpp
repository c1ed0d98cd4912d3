// The operations in plain double precision on the host. Shares no code with what it checks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace longrope::kernels::check {

using Doubles = std::vector<double>;

inline std::size_t at(std::int64_t row, std::int64_t cols, std::int64_t col) {
  return static_cast<std::size_t>(row * cols + col);
}

/// The nearest number of 8 significant bits, ties to even.
inline double round_bf16(double value) {
  if (value == 0.0 || !std::isfinite(value)) return value;
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

inline double dot(const double* x, const double* y, std::int64_t n) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

inline void rms_normalise(double* x, const Doubles& weight, double epsilon) {
  const auto n = static_cast<std::int64_t>(weight.size());
  const double root = std::sqrt(dot(x, x, n) / static_cast<double>(n) + epsilon);
  for (std::int64_t i = 0; i < n; ++i) x[i] = x[i] / root * weight[static_cast<std::size_t>(i)];
}

/// x [rows, in] W^T [out, in] + bias.
inline Doubles product(const Doubles& x, const Doubles& weight, const Doubles& bias, std::int64_t rows, std::int64_t in,
                       std::int64_t out) {
  Doubles y(static_cast<std::size_t>(rows * out));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t o = 0; o < out; ++o) {
      y[at(r, out, o)] =
          dot(&x[at(r, in, 0)], &weight[at(o, in, 0)], in) + (bias.empty() ? 0.0 : bias[static_cast<std::size_t>(o)]);
    }
  }
  return y;
}

/// One query row of one head; q [head_dim] already scaled; k, v start at the head, their rows `stride` apart.
inline void attend(const double* q, const double* k, const double* v, std::int64_t stride, std::int64_t head_dim,
                   std::int64_t position, std::int64_t window, double* out) {
  const std::int64_t first = window > 0 ? std::max<std::int64_t>(0, position - window + 1) : 0;
  Doubles scores;
  for (std::int64_t j = first; j <= position; ++j) scores.push_back(dot(q, k + j * stride, head_dim));
  const double highest = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  std::fill(out, out + head_dim, 0.0);
  for (std::int64_t j = first; j <= position; ++j) {
    const double p = std::exp(scores[static_cast<std::size_t>(j - first)] - highest);
    sum += p;
    for (std::int64_t i = 0; i < head_dim; ++i) out[i] += p * v[j * stride + i];
  }
  for (std::int64_t i = 0; i < head_dim; ++i) out[i] /= sum;
}

/// log(sum(exp(logits))) - logits[target]
inline double nll(const Doubles& logits, std::int64_t target) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum) - logits[static_cast<std::size_t>(target)];
}

}  // namespace longrope::kernels::check
