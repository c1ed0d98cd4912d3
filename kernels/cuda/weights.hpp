// What a model packs for the device, and the K and V of one layer. All immutable but KvBuffer, shared by all threads.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/cuda/gemm.hpp"
#include "kernels/cuda/launches.hpp"
#include "kernels/cuda/upload.hpp"

namespace longrope::kernels::cuda {

/// What packing and products need of the backend; outlives every object made with it.
struct Context {
  const Device& device;
  const Uploader& uploader;
  const Gemm& gemm;
};

class CudaVector final : public Vector {
 public:
  CudaVector(const Context& context, std::span<const float> values)
      : size_(static_cast<std::int64_t>(values.size())), memory_(context.uploader.vector(values, DType::f32)) {}

  std::int64_t size() const override { return size_; }
  const float* data() const { return as<const float>(memory_); }

 private:
  std::int64_t size_;
  DeviceMemory memory_;
};

/// The rows in bf16 where they came so, else in float32.
class CudaEmbedding final : public Embedding {
 public:
  CudaEmbedding(const Context& context, ConstMatrix weight);

  std::int64_t vocabulary() const override { return vocabulary_; }
  /// As Backend::embed.
  void look_up(const Device& device, std::span<const std::int32_t> ids, Matrix hidden) const;

 private:
  std::int64_t vocabulary_;
  std::int64_t hidden_;
  DType dtype_;
  DeviceMemory rows_;
};

/// A projection in bf16, or in e4m3 with one scale per output row. Columns are padded with zeros to a multiple of 8
/// (the tensor cores' 16-byte rows).
class CudaLinear final : public Linear {
 public:
  /// fp8 is for projections whose sides are multiples of 16, as cuBLASLt asks; the others stay bf16.
  CudaLinear(const Context& context, ConstMatrix weight, std::span<const float> bias, bool fp8);

  std::int64_t in_features() const override { return in_; }
  std::int64_t out_features() const override { return out_; }
  bool fp8() const { return scales_ != nullptr; }
  /// As Backend::linear.
  void apply(const Context& context, ConstMatrix x, Matrix y, bool accumulate) const;

 private:
  /// Without x, y and rows.
  GemmCall product(DType y_dtype, bool accumulate) const;

  std::int64_t in_;
  std::int64_t out_;
  std::int64_t padded_in_;
  DeviceMemory weight_;
  DeviceMemory scales_;
  DeviceMemory bias_f32_, bias_bf16_;
};

/// The output projection and the loss in one op. Logits exist for a tile of rows x vocabulary at a time, in float32.
class CudaLmHead final : public LmHead {
 public:
  CudaLmHead(const Context& context, ConstMatrix weight);

  std::int64_t vocabulary() const override { return vocabulary_; }
  /// As Backend::nll; returns when the values are there.
  void nll(const Context& context, ConstMatrix x, std::span<const std::int32_t> targets,
           std::span<double> nll_nats) const;
  /// As Backend::argmax; returns when the ids are there.
  void argmax(const Context& context, ConstMatrix x, std::span<std::int32_t> ids) const;

 private:
  std::int64_t vocabulary_;
  std::int64_t hidden_;
  std::int64_t padded_hidden_;
  DeviceMemory weight_;
};

/// The frequencies alone: cos and sin are computed for a chunk when it is rotated, which costs less than reading a
/// table of millions of positions would take memory. Holds no device memory.
class CudaRotationTable final : public RotationTable {
 public:
  CudaRotationTable(const RotationSpec& spec, std::int64_t tokens);

  std::int64_t tokens() const override { return tokens_; }
  const RotationFrequencies& frequencies() const { return frequencies_; }

 private:
  std::int64_t tokens_;
  RotationFrequencies frequencies_{};
};

/// K and V, each [capacity, kv_heads, head_dim] bf16.
class CudaKvBuffer final : public KvBuffer {
 public:
  CudaKvBuffer(const Device& device, const AttentionShape& shape, std::int64_t capacity_tokens)
      : kv_heads_(shape.kv_heads),
        head_dim_(shape.head_dim),
        capacity_(capacity_tokens),
        keys_(device.allocate(capacity_ * row_bytes())),
        values_(device.allocate(capacity_ * row_bytes())) {}

  std::int64_t capacity_tokens() const override { return capacity_; }
  std::int64_t kv_heads() const { return kv_heads_; }
  std::int64_t head_dim() const { return head_dim_; }
  /// Bytes of one position's K, or V.
  std::int64_t row_bytes() const { return kv_heads_ * head_dim_ * bytes_of(DType::bf16); }
  char* keys() const { return as<char>(keys_); }
  char* values() const { return as<char>(values_); }

 private:
  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::int64_t capacity_;
  DeviceMemory keys_;
  DeviceMemory values_;
};

/// x [rows, cols] bf16, or a copy of it whose rows are padded with zeros to padded_cols.
struct PaddedRows {
  PaddedRows(const Device& device, ConstMatrix x, std::int64_t padded_cols);
  const void* data;
  DeviceMemory copy;
};

}  // namespace longrope::kernels::cuda
