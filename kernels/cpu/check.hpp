// Preconditions of the public operations, told in the project's message grammar.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/error.hpp"
#include "kernels/matrix.hpp"

namespace longrope::kernels {

/// Throws InputError "[where] rule but got value" unless `holds`.
inline void require(bool holds, const char* where, const char* rule, std::int64_t value) {
  if (holds) return;
  throw InputError("[" + std::string(where) + "] " + rule + " but got " + std::to_string(value));
}

/// Throws InputError unless `matrix` is [rows, cols] of `dtype` and has data (or no elements).
inline void require_matrix(ConstMatrix matrix, const char* where, const char* name, std::int64_t rows,
                           std::int64_t cols, DType dtype) {
  const std::string what(name);
  require(matrix.rows == rows, where, (what + " must have " + std::to_string(rows) + " rows").c_str(), matrix.rows);
  require(matrix.cols == cols, where, (what + " must have " + std::to_string(cols) + " columns").c_str(), matrix.cols);
  require(matrix.dtype == dtype, where,
          (what + " must have element type " + std::to_string(static_cast<int>(dtype))).c_str(),
          static_cast<std::int64_t>(matrix.dtype));
  require(matrix.data != nullptr || rows == 0 || cols == 0, where, (what + " must not be null").c_str(), 0);
}

}  // namespace longrope::kernels
