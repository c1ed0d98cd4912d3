// The CUDA backend: hands each operation of the contract to its file.
#include "kernels/backend.hpp"

#include <algorithm>
#include <vector>

#include "kernels/check.hpp"
#include "kernels/cuda/attention_fp8.hpp"
#include "kernels/cuda/attention_select.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/copy_queue.hpp"
#include "kernels/cuda/weights.hpp"
#include "kernels/memory_format.hpp"

namespace longrope::kernels {
namespace cuda {
namespace {

void require_kv(const AttentionShape& shape, const CudaKvBuffer& kv, const char* where) {
  require(kv.kv_heads() == shape.kv_heads, where, "the K and V buffer must have the shape's kv_heads", kv.kv_heads());
  require(kv.head_dim() == shape.head_dim, where, "the K and V buffer must have the shape's head_dim", kv.head_dim());
}

void require_positions(std::int64_t first_position, std::int64_t rows, const CudaKvBuffer& kv, const char* where) {
  require(first_position >= 0, where, "first_position must not be negative", first_position);
  require(first_position + rows <= kv.capacity_tokens(), where, "positions must fit the K and V buffer",
          first_position + rows);
}

/// A head norm's weights; null: none.
const float* norm_weights(const Vector* norm, const AttentionShape& shape) {
  if (norm == nullptr) return nullptr;
  require(norm->size() == shape.head_dim, "rotate_qkv", "a head norm must have head_dim elements", norm->size());
  return own<const CudaVector>(*norm, "rotate_qkv").data();
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(Precision precision, int device, AttentionPrecision attention)
      : precision_(precision), attention_(attention), device_(device), uploader_(device_), gemm_(device_) {
    if (precision == Precision::fp8 && device_.capability() != 90) {
      throw InputError("[backend] fp8 needs a CUDA device of compute capability 9.0 but got " +
                       std::to_string(device_.capability() / 10) + "." + std::to_string(device_.capability() % 10) +
                       " (use --precision bf16)");
    }
  }

  std::string name() const override { return "cuda"; }
  Precision precision() const override { return precision_; }
  DType activation_dtype() const override { return DType::bf16; }
  DType projection_dtype() const override { return DType::bf16; }
  std::int64_t preferred_chunk_tokens() const override { return kCudaChunkTokens; }
  bool rows_independent() const override { return false; }
  bool rows_joinable() const override { return gemm_.rows_independent(); }

  DeviceMemory allocate(std::int64_t bytes) const override { return device_.allocate(bytes); }
  void finish() const override { device_.finish("finish"); }

  std::unique_ptr<Vector> pack_vector(std::span<const float> values) const override {
    return std::make_unique<CudaVector>(context(), values);
  }
  std::unique_ptr<Linear> pack_linear(ConstMatrix weight, std::span<const float> bias) const override {
    return std::make_unique<CudaLinear>(context(), weight, bias, precision_ == Precision::fp8);
  }
  std::unique_ptr<Embedding> pack_embedding(ConstMatrix weight) const override {
    return std::make_unique<CudaEmbedding>(context(), weight);
  }
  std::unique_ptr<LmHead> pack_lm_head(ConstMatrix weight) const override {
    return std::make_unique<CudaLmHead>(context(), weight);
  }
  std::unique_ptr<RotationTable> make_rotation_table(const RotationSpec& spec, std::int64_t tokens) const override {
    return std::make_unique<CudaRotationTable>(spec, tokens);
  }
  std::unique_ptr<KvBuffer> make_kv_buffer(const AttentionShape& shape, std::int64_t capacity_tokens) const override {
    require_shape(shape, "kv_buffer");
    require(capacity_tokens >= 0, "kv_buffer", "capacity_tokens must not be negative", capacity_tokens);
    return std::make_unique<CudaKvBuffer>(device_, shape, capacity_tokens);
  }

  HostMemory allocate_host(std::int64_t bytes) const override { return allocate_page_locked(device_, bytes); }
  std::unique_ptr<CopyQueue> make_copy_queue() const override { return std::make_unique<CudaCopyQueue>(device_); }

  void embed(const Embedding& table, std::span<const std::int32_t> ids, Matrix hidden) const override {
    own<const CudaEmbedding>(table, "embed").look_up(device_, ids, hidden);
  }

  void rms_norm(ConstMatrix x, const Vector& weight, float epsilon, Matrix y) const override {
    const auto& weights = own<const CudaVector>(weight, "rms_norm");
    require_matrix(y, "rms_norm", "y", x.rows, x.cols, DType::bf16);
    require_matrix(x, "rms_norm", "x", y.rows, y.cols, DType::f32);
    require(weights.size() == x.cols, "rms_norm", "weight must have one element per column", weights.size());
    device_.use();
    launch_rms_norm(static_cast<const float*>(x.data), weights.data(), epsilon, x.rows, x.cols, y.data, stream());
  }

  void linear(const Linear& weight, ConstMatrix x, Matrix y, bool accumulate) const override {
    own<const CudaLinear>(weight, "linear").apply(context(), x, y, accumulate);
  }

  void rotate_qkv(const RotateQkvOptions& options, ConstMatrix qkv, const RotationTable& table, Matrix q,
                  KvBuffer& kv) const override {
    const SequenceRotation one{qkv, &table, q, &kv};
    rotate_sequences(options, {&one, 1});
  }
  void rotate_sequences(const RotateQkvOptions& options, std::span<const SequenceRotation> sequences) const override;

  void attention(const AttentionShape& shape, ConstMatrix q, const KvBuffer& kv, std::int64_t first_position,
                 std::int64_t sliding_window, Matrix out) const override {
    const auto& buffer = own<const CudaKvBuffer>(kv, "attention");
    require_shape(shape, "attention");
    require_matrix(q, "attention", "q", out.rows, shape.heads * shape.head_dim, DType::bf16);
    require_matrix(out, "attention", "out", q.rows, shape.heads * shape.head_dim, DType::bf16);
    require_kv(shape, buffer, "attention");
    require_positions(first_position, q.rows, buffer, "attention");
    require(sliding_window >= 0, "attention", "sliding_window must not be negative", sliding_window);
    if (q.rows == 0) return;
    device_.use();
    const AttentionProblem problem{q.data,         buffer.keys(),  buffer.values(), out.data,       shape.heads,
                                   shape.kv_heads, shape.head_dim, q.rows,          first_position, sliding_window};
    if (attention_ == AttentionPrecision::fp8 && problem.rows >= kFewestFp8Rows) {
      require(attention_fp8_supports(problem), "attention", "fp8 needs a head_dim of 64, 96 or 128", shape.head_dim);
      AttentionProblem last = problem;  // one size for all chunks of a window: the pool gives the same memory again
      last.first_position = buffer.capacity_tokens() - q.rows;
      const DeviceMemory workspace = device_.allocate(attention_fp8_workspace_bytes(last));
      attention_fp8(problem, workspace.get(), stream());
      return;
    }
    choose_attention(attention_implementations(), problem).run(problem, stream());
  }

  void gated_silu(ConstMatrix gate_up, Matrix y) const override {
    require_matrix(y, "gated_silu", "y", gate_up.rows, gate_up.cols / 2, DType::bf16);
    require_matrix(gate_up, "gated_silu", "gate_up", y.rows, 2 * y.cols, DType::bf16);
    device_.use();
    launch_gated_silu(gate_up.data, y.rows, y.cols, y.data, stream());
  }

  void nll(const LmHead& head, ConstMatrix x, std::span<const std::int32_t> targets,
           std::span<double> nll_nats) const override {
    own<const CudaLmHead>(head, "nll").nll(context(), x, targets, nll_nats);
  }

  void argmax(const LmHead& head, ConstMatrix x, std::span<std::int32_t> ids) const override {
    own<const CudaLmHead>(head, "argmax").argmax(context(), x, ids);
  }

 private:
  Context context() const { return {device_, uploader_, gemm_}; }

  Precision precision_;
  AttentionPrecision attention_;
  Device device_;
  Uploader uploader_;
  Gemm gemm_;
};

void CudaBackend::rotate_sequences(const RotateQkvOptions& options, std::span<const SequenceRotation> sequences) const {
  const char* where = "rotate_qkv";
  const AttentionShape& shape = options.shape;
  require_shape(shape, where);
  RotateQkvLaunch launch;
  launch.q_norm = norm_weights(options.q_norm, shape);
  launch.k_norm = norm_weights(options.k_norm, shape);
  launch.shape = shape;
  launch.rows = sequences.empty() ? 0 : sequences.front().qkv.rows;
  launch.norm_epsilon = options.norm_epsilon;
  const std::int64_t end = options.first_position + launch.rows;
  std::vector<const RotationFrequencies*> frequencies;
  std::vector<RotateQkvLaunch::Sequence> pointers;
  for (const SequenceRotation& s : sequences) {
    const auto& rotation = own<const CudaRotationTable>(*s.table, where);
    const auto& buffer = own<CudaKvBuffer>(*s.kv, where);
    require_matrix(s.qkv, where, "qkv", launch.rows, shape.qkv_cols(), DType::bf16);
    require_matrix(s.q, where, "q", launch.rows, shape.heads * shape.head_dim, DType::bf16);
    const std::int64_t pairs = rotation.frequencies().pairs;
    require(pairs * 2 == shape.rotary_dim, where, "the rotation table must have rotary_dim/2 pairs", pairs);
    require_kv(shape, buffer, where);
    require_positions(options.first_position, launch.rows, buffer, where);
    require(end <= rotation.tokens(), where, "positions must lie in the rotation table", end);
    frequencies.push_back(&rotation.frequencies());
    const std::int64_t filled = options.first_position * buffer.row_bytes();
    pointers.push_back({s.qkv.data, s.q.data, buffer.keys() + filled, buffer.values() + filled});
  }
  if (launch.rows == 0) return;
  device_.use();
  for (std::size_t first = 0; first < sequences.size();) {
    RotationBatch batch;
    const std::size_t count = pack_rotations(std::span(frequencies).subspan(first), batch);
    const std::int64_t table_bytes = batch.count * launch.rows * batch.pairs * bytes_of(DType::f32);
    const DeviceMemory cosines = device_.allocate(table_bytes);
    const DeviceMemory sines = device_.allocate(table_bytes);
    launch_rotation(batch, options.first_position, launch.rows, as<float>(cosines), as<float>(sines), stream());
    std::copy_n(pointers.begin() + static_cast<std::ptrdiff_t>(first), count, launch.sequences);
    launch.count = batch.count;
    launch.cosines = as<const float>(cosines);
    launch.sines = as<const float>(sines);
    launch_rotate_qkv(launch, stream());
    first += count;
  }
}

}  // namespace
}  // namespace cuda

std::unique_ptr<Backend> make_cuda_backend(Precision precision, int device, AttentionPrecision attention) {
  const cuda::Device there(device);  // what is missing comes before what is asked of it
  if (precision == Precision::f32) {
    throw InputError("[backend] the CUDA backend multiplies bf16 or fp8 but got f32 (use --precision bf16)");
  }
  if (attention == AttentionPrecision::fp8 && precision != Precision::fp8) {
    throw InputError("[backend] fp8 attention goes with fp8 products but got bf16 (use --precision fp8)");
  }
  return std::make_unique<cuda::CudaBackend>(precision, device, attention);
}

}  // namespace longrope::kernels
