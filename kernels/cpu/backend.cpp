// The CPU backend: hands each operation of the contract to its file.
#include "kernels/backend.hpp"

#include "kernels/check.hpp"
#include "kernels/cpu/aligned.hpp"
#include "kernels/cpu/attention.hpp"
#include "kernels/cpu/copy_queue.hpp"
#include "kernels/cpu/elementwise.hpp"
#include "kernels/cpu/gemm.hpp"
#include "kernels/cpu/kv_buffer.hpp"
#include "kernels/cpu/linear.hpp"
#include "kernels/cpu/lm_head.hpp"
#include "kernels/cpu/rotate_qkv.hpp"
#include "kernels/cpu/rotation_table.hpp"
#include "kernels/cpu/vector.hpp"
#include "kernels/memory_format.hpp"

namespace longrope::kernels {
namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(Precision precision) : precision_(precision) {}

  std::string name() const override { return "cpu"; }
  Precision precision() const override { return precision_; }
  DType activation_dtype() const override { return precision_ == Precision::bf16 ? DType::bf16 : DType::f32; }

  DType projection_dtype() const override { return DType::f32; }
  std::int64_t preferred_chunk_tokens() const override { return kCpuChunkTokens; }
  bool rows_independent() const override { return true; }

  DeviceMemory allocate(std::int64_t bytes) const override { return allocate_aligned(bytes); }

  void finish() const override {}

  std::unique_ptr<Vector> pack_vector(std::span<const float> values) const override {
    return std::make_unique<CpuVector>(values);
  }
  std::unique_ptr<Linear> pack_linear(ConstMatrix weight, std::span<const float> bias) const override {
    return std::make_unique<CpuLinear>(weight, bias, precision_, products_);
  }
  std::unique_ptr<Embedding> pack_embedding(ConstMatrix weight) const override {
    return std::make_unique<CpuEmbedding>(weight);
  }
  std::unique_ptr<LmHead> pack_lm_head(ConstMatrix weight) const override {
    return std::make_unique<CpuLmHead>(weight, precision_);
  }
  std::unique_ptr<RotationTable> make_rotation_table(const RotationSpec& spec, std::int64_t tokens) const override {
    return std::make_unique<CpuRotationTable>(spec, tokens, precision_);
  }
  std::unique_ptr<KvBuffer> make_kv_buffer(const AttentionShape& shape, std::int64_t capacity_tokens) const override {
    require_shape(shape, "kv_buffer");
    require(capacity_tokens >= 0, "kv_buffer", "capacity_tokens must not be negative", capacity_tokens);
    return std::make_unique<CpuKvBuffer>(shape, capacity_tokens, activation_dtype());
  }

  HostMemory allocate_host(std::int64_t bytes) const override { return allocate_aligned(bytes); }
  std::unique_ptr<CopyQueue> make_copy_queue() const override { return std::make_unique<CpuCopyQueue>(); }

  void embed(const Embedding& table, std::span<const std::int32_t> ids, Matrix hidden) const override {
    own<const CpuEmbedding>(table, "embed").look_up(ids, hidden);
  }
  void rms_norm(ConstMatrix x, const Vector& weight, float epsilon, Matrix y) const override {
    require_matrix(y, "rms_norm", "y", x.rows, x.cols, activation_dtype());
    kernels::rms_norm(x, own<const CpuVector>(weight, "rms_norm").values(), epsilon, y);
  }
  void linear(const Linear& weight, ConstMatrix x, Matrix y, bool accumulate) const override {
    own<const CpuLinear>(weight, "linear").apply(x, y, accumulate);
  }
  void rotate_qkv(const RotateQkvOptions& options, ConstMatrix qkv, const RotationTable& table, Matrix q,
                  KvBuffer& kv) const override {
    kernels::rotate_qkv(options, qkv, own<const CpuRotationTable>(table, "rotate_qkv"), q,
                        own<CpuKvBuffer>(kv, "rotate_qkv"));
  }
  void attention(const AttentionShape& shape, ConstMatrix q, const KvBuffer& kv, std::int64_t first_position,
                 std::int64_t sliding_window, Matrix out) const override {
    kernels::attention(shape, q, own<const CpuKvBuffer>(kv, "attention"), first_position, sliding_window, out);
  }
  void gated_silu(ConstMatrix gate_up, Matrix y) const override {
    require_matrix(y, "gated_silu", "y", gate_up.rows, gate_up.cols / 2, activation_dtype());
    kernels::gated_silu(gate_up, y);
  }
  void nll(const LmHead& head, ConstMatrix x, std::span<const std::int32_t> targets,
           std::span<double> nll_nats) const override {
    own<const CpuLmHead>(head, "nll").nll(x, targets, nll_nats);
  }
  void argmax(const LmHead& head, ConstMatrix x, std::span<std::int32_t> ids) const override {
    own<const CpuLmHead>(head, "argmax").argmax(x, ids);
  }

 private:
  Precision precision_;
  mutable GemmCache products_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(Precision precision) {
  if (precision == Precision::fp8) {
    throw InputError("[backend] fp8 needs a GPU of compute capability 9.0 (use --precision f32 or bf16 on the CPU)");
  }
  if (precision == Precision::bf16 && !processor_has_bf16_products()) {
    throw InputError("[backend] bf16 needs a processor with AVX-512 BF16 instructions (use --precision f32)");
  }
  return std::make_unique<CpuBackend>(precision);
}

}  // namespace longrope::kernels
