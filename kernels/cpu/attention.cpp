#include "kernels/cpu/attention.hpp"

#include <algorithm>

#include "kernels/check.hpp"
#include "kernels/cpu/attention_block.hpp"
#include "kernels/cpu/parallel.hpp"

namespace longrope::kernels {
namespace {

struct AttentionScratchTag {};

void validate(const AttentionShape& shape, ConstMatrix q, const CpuKvBuffer& kv, std::int64_t first_position,
              std::int64_t sliding_window, Matrix out) {
  const char* where = "attention";
  require_shape(shape, where);
  require_matrix(q, where, "q", out.rows, shape.heads * shape.head_dim, DType::f32);
  require_matrix(out, where, "out", q.rows, shape.heads * shape.head_dim, kv.dtype());
  require(kv.kv_heads() == shape.kv_heads, where, "the K and V buffer must have the shape's kv_heads", kv.kv_heads());
  require(kv.head_dim() == shape.head_dim, where, "the K and V buffer must have the shape's head_dim", kv.head_dim());
  require(first_position >= 0, where, "first_position must not be negative", first_position);
  require(first_position + q.rows <= kv.capacity_tokens(), where, "positions must fit the K and V buffer",
          first_position + q.rows);
  require(sliding_window >= 0, where, "sliding_window must not be negative", sliding_window);
}

}  // namespace

void attention(const AttentionShape& shape, ConstMatrix q, const CpuKvBuffer& kv, std::int64_t first_position,
               std::int64_t sliding_window, Matrix out) {
  validate(shape, q, kv, first_position, sliding_window, out);
  const std::int64_t query_blocks = (q.rows + kQueryBlock - 1) / kQueryBlock;
  const std::int64_t stride = shape.heads * shape.head_dim;
  parallel_blocks(query_blocks * shape.heads, [&](std::int64_t item) {
    const std::int64_t head = item % shape.heads;
    const std::int64_t first_row = (query_blocks - 1 - item / shape.heads) * kQueryBlock;  // long rows first
    const std::int64_t kv_head = head / (shape.heads / shape.kv_heads);
    AttentionBlock block;
    block.q = static_cast<const float*>(q.data) + first_row * stride + head * shape.head_dim;
    block.q_stride = stride;
    block.rows = std::min(kQueryBlock, q.rows - first_row);
    block.first_position = first_position + first_row;
    block.sliding_window = sliding_window;
    block.head_dim = shape.head_dim;
    block.keys = kv.keys(kv_head);
    block.values = kv.values(kv_head);
    block.kv_dtype = kv.dtype();
    block.value_panel_stride = kv.value_panel_stride();
    block.out = static_cast<char*>(out.data) + (first_row * stride + head * shape.head_dim) * bytes_of(out.dtype);
    block.out_stride = stride;
    block.out_dtype = out.dtype;
    attention_block(block, thread_scratch<AttentionScratchTag>(attention_scratch_bytes(shape.head_dim)));
  });
}

}  // namespace longrope::kernels
