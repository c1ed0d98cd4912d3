#include "kernels/cpu/rotate_qkv.hpp"

#include <array>
#include <cmath>

#include "kernels/check.hpp"
#include "kernels/convert.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/vector.hpp"

namespace longrope::kernels {
namespace {

constexpr std::int64_t kRowsPerBlock = 64;
constexpr std::int64_t kMaxHeadDim = 256;

/// y = x / sqrt(mean(x^2) + epsilon) * weight over one head.
void normalise_head(const float* x, std::span<const float> weight, float epsilon, float* y) {
  double squares = 0.0;
  for (std::size_t i = 0; i < weight.size(); ++i) squares += static_cast<double>(x[i]) * x[i];
  const double mean = squares / static_cast<double>(weight.size());
  const auto inverse = static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(epsilon)));
  for (std::size_t i = 0; i < weight.size(); ++i) y[i] = x[i] * inverse * weight[i];
}

/// One head of one position: norm if asked, rotation of pairs (i, i + pairs), the rest passed through.
void rotate_head(const float* x, std::int64_t head_dim, std::span<const float> norm, float epsilon, std::int64_t pairs,
                 const float* cosines, const float* sines, float* y) {
  if (norm.empty()) {
    std::copy(x, x + head_dim, y);
  } else {
    normalise_head(x, norm, epsilon, y);
  }
  for (std::int64_t i = 0; i < pairs; ++i) {
    const float a = y[i];
    const float b = y[i + pairs];
    y[i] = a * cosines[i] - b * sines[i];
    y[i + pairs] = b * cosines[i] + a * sines[i];
  }
}

void store(void* data, DType dtype, std::int64_t offset, float value) {
  if (dtype == DType::bf16) {
    static_cast<std::uint16_t*>(data)[offset] = bf16_from_float(value);
  } else {
    static_cast<float*>(data)[offset] = value;
  }
}

/// The weights of a head norm; empty: none.
std::span<const float> norm_weights(const Vector* norm) {
  return norm == nullptr ? std::span<const float>() : own<const CpuVector>(*norm, "rotate_qkv").values();
}

/// What a block of rows needs; rows are those of the chunk, positions those of the window.
struct Chunk {
  const RotateQkvOptions& options;
  std::span<const float> q_norm;
  std::span<const float> k_norm;
  const float* qkv;
  const CpuRotationTable& table;
  float* q;
  CpuKvBuffer& kv;

  void queries(std::int64_t row) const {
    const AttentionShape& shape = options.shape;
    const std::int64_t position = options.first_position + row;
    const float scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
    const bool round = kv.dtype() == DType::bf16;
    for (std::int64_t head = 0; head < shape.heads; ++head) {
      float* out = q + (row * shape.heads + head) * shape.head_dim;
      rotate_head(qkv + row * shape.qkv_cols() + head * shape.head_dim, shape.head_dim, q_norm, options.norm_epsilon,
                  table.pairs(), table.cosines(position), table.sines(position), out);
      for (std::int64_t i = 0; i < shape.head_dim; ++i) out[i] = round ? round_to_bf16(out[i] * scale) : out[i] * scale;
    }
  }

  void keys_and_values(std::int64_t row) const {
    const AttentionShape& shape = options.shape;
    const std::int64_t position = options.first_position + row;
    std::array<float, kMaxHeadDim> key;
    for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
      const float* k = qkv + row * shape.qkv_cols() + (shape.heads + head) * shape.head_dim;
      const float* v = k + shape.kv_heads * shape.head_dim;
      rotate_head(k, shape.head_dim, k_norm, options.norm_epsilon, table.pairs(), table.cosines(position),
                  table.sines(position), key.data());
      void* keys = kv.keys(head);
      void* values = kv.values(head);
      for (std::int64_t i = 0; i < shape.head_dim; ++i) {
        store(keys, kv.dtype(), kv.key_offset(position, i), key[static_cast<std::size_t>(i)]);
        store(values, kv.dtype(), kv.value_offset(position, i), v[i]);
      }
    }
  }
};

/// Under bf16 attention reads values in pairs of tokens: what stands beside the chunk's last one must be finite.
void finish_last_pair(CpuKvBuffer& kv, std::int64_t last_position) {
  if (kv.dtype() != DType::bf16 || last_position % 2 != 0) return;
  for (std::int64_t head = 0; head < kv.kv_heads(); ++head) {
    for (std::int64_t i = 0; i < kv.head_dim(); ++i) {
      store(kv.values(head), kv.dtype(), kv.value_offset(last_position + 1, i), 0.0F);
    }
  }
}

void validate(const RotateQkvOptions& options, ConstMatrix qkv, const CpuRotationTable& table, Matrix q,
              const CpuKvBuffer& kv) {
  const char* where = "rotate_qkv";
  const AttentionShape& shape = options.shape;
  require_shape(shape, where);
  require_matrix(qkv, where, "qkv", q.rows, shape.qkv_cols(), DType::f32);
  require_matrix(q, where, "q", qkv.rows, shape.heads * shape.head_dim, DType::f32);
  require(table.pairs() * 2 == shape.rotary_dim, where, "the rotation table must have rotary_dim/2 pairs",
          table.pairs());
  require(kv.kv_heads() == shape.kv_heads, where, "the K and V buffer must have the shape's kv_heads", kv.kv_heads());
  require(kv.head_dim() == shape.head_dim, where, "the K and V buffer must have the shape's head_dim", kv.head_dim());
  require(options.first_position >= 0, where, "first_position must not be negative", options.first_position);
  const std::int64_t end = options.first_position + qkv.rows;
  require(end <= kv.capacity_tokens(), where, "positions must fit the K and V buffer", end);
  require(end <= table.tokens(), where, "positions must lie in the rotation table", end);
  for (const Vector* norm : {options.q_norm, options.k_norm}) {
    if (norm == nullptr) continue;
    require(norm->size() == shape.head_dim, where, "a head norm must have head_dim elements", norm->size());
  }
}

}  // namespace

void rotate_qkv(const RotateQkvOptions& options, ConstMatrix qkv, const CpuRotationTable& table, Matrix q,
                CpuKvBuffer& kv) {
  validate(options, qkv, table, q, kv);
  const Chunk chunk{options,
                    norm_weights(options.q_norm),
                    norm_weights(options.k_norm),
                    static_cast<const float*>(qkv.data),
                    table,
                    static_cast<float*>(q.data),
                    kv};
  parallel_rows(qkv.rows, kRowsPerBlock, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t row = first; row < first + count; ++row) chunk.queries(row);
    for (std::int64_t row = first; row < first + count; ++row) chunk.keys_and_values(row);
  });
  if (qkv.rows > 0) finish_last_pair(kv, options.first_position + qkv.rows - 1);
}

}  // namespace longrope::kernels
