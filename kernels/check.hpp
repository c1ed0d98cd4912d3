// Preconditions of the public operations, told in the project's message grammar.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/backend.hpp"
#include "kernels/error.hpp"

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

/// Throws InputError unless the shape is one attention can run: heads a multiple of kv_heads, 1 <= head_dim <= 256,
/// rotary_dim even and at most head_dim.
inline void require_shape(const AttentionShape& shape, const char* where) {
  require(shape.kv_heads > 0, where, "kv_heads must be positive", shape.kv_heads);
  require(shape.heads > 0 && shape.heads % shape.kv_heads == 0, where, "heads must be a positive multiple of kv_heads",
          shape.heads);
  require(shape.head_dim > 0 && shape.head_dim <= 256, where, "head_dim must be in 1 .. 256", shape.head_dim);
  require(shape.rotary_dim >= 0 && shape.rotary_dim % 2 == 0 && shape.rotary_dim <= shape.head_dim, where,
          "rotary_dim must be even and at most head_dim", shape.rotary_dim);
}

/// Throws InputError unless every id is in 0 .. vocabulary - 1.
inline void require_ids(std::span<const std::int32_t> ids, std::int64_t vocabulary, const char* where,
                        const char* rule) {
  for (const std::int32_t id : ids) require(id >= 0 && id < vocabulary, where, rule, id);
}

/// A backend's own object behind a handle. Throws InputError if another backend made it.
template <class Own, class Handle>
Own& own(Handle& handle, const char* where) {
  auto* object = dynamic_cast<Own*>(&handle);
  if (object == nullptr) {
    throw InputError("[" + std::string(where) +
                     "] every argument must be made by the backend that is called but got another's");
  }
  return *object;
}

}  // namespace longrope::kernels
