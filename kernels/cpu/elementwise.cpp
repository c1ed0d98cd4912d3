#include "kernels/cpu/elementwise.hpp"

#include <cstring>

#include "kernels/check.hpp"
#include "kernels/convert.hpp"
#include "kernels/cpu/aligned.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/cpu/row_kernels.hpp"

namespace longrope::kernels {
namespace {

constexpr std::int64_t kRowsPerBlock = 64;

struct RowTag {};

/// Runs fill(row, float output) for each row of y, through a float32 row in scratch if y is bf16.
template <class Fill>
void for_each_row(Matrix y, const Fill& fill) {
  parallel_rows(y.rows, kRowsPerBlock, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t row = first; row < first + count; ++row) {
      void* target = y.row_range(row, 1).data;
      if (y.dtype == DType::f32) {
        fill(row, static_cast<float*>(target));
        continue;
      }
      auto* values = static_cast<float*>(thread_scratch<RowTag>(y.cols * static_cast<std::int64_t>(sizeof(float))));
      fill(row, values);
      round_row_to_bf16(values, y.cols, static_cast<std::uint16_t*>(target));
    }
  });
}

void require_activation(Matrix y, const char* where) {
  require(y.dtype == DType::f32 || y.dtype == DType::bf16, where, "y must be f32 or bf16", static_cast<int>(y.dtype));
}

}  // namespace

CpuEmbedding::CpuEmbedding(ConstMatrix weight) : vocabulary_(weight.rows), hidden_(weight.cols), dtype_(weight.dtype) {
  require(weight.rows > 0 && weight.cols > 0, "embedding", "the table must not be empty", weight.rows * weight.cols);
  require_matrix(weight, "embedding", "the table", vocabulary_, hidden_, dtype_);
  const std::int64_t bytes = vocabulary_ * hidden_ * bytes_of(dtype_);
  rows_ = allocate_aligned(bytes);
  std::memcpy(rows_.get(), weight.data, static_cast<std::size_t>(bytes));
}

void CpuEmbedding::look_up(std::span<const std::int32_t> ids, Matrix hidden) const {
  require_matrix(hidden, "embed", "hidden", static_cast<std::int64_t>(ids.size()), hidden_, DType::f32);
  require_ids(ids, vocabulary_, "embed", "ids must be in the vocabulary");
  for_each_row(hidden, [&](std::int64_t row, float* out) {
    convert_to_float(rows_.get(), dtype_, ids[static_cast<std::size_t>(row)] * hidden_, hidden_, out);
  });
}

void rms_norm(ConstMatrix x, std::span<const float> weight, float epsilon, Matrix y) {
  require_activation(y, "rms_norm");
  require_matrix(x, "rms_norm", "x", y.rows, y.cols, DType::f32);
  require(static_cast<std::int64_t>(weight.size()) == x.cols, "rms_norm", "weight must have one element per column",
          static_cast<std::int64_t>(weight.size()));
  for_each_row(y, [&](std::int64_t row, float* out) {
    rms_norm_row(static_cast<const float*>(x.row_range(row, 1).data), weight.data(), x.cols, epsilon, out);
  });
}

void gated_silu(ConstMatrix gate_up, Matrix y) {
  require_activation(y, "gated_silu");
  require_matrix(gate_up, "gated_silu", "gate_up", y.rows, 2 * y.cols, DType::f32);
  for_each_row(y, [&](std::int64_t row, float* out) {
    const auto* gate = static_cast<const float*>(gate_up.row_range(row, 1).data);
    gated_silu_row(gate, gate + y.cols, y.cols, out);
  });
}

}  // namespace longrope::kernels
