// The operations a forward pass is made of, on one device. The CPU backend is the reference for the CUDA one.
// Every operation is deterministic: its result does not depend on the number of threads, nor on what else runs.
// Operations may be called from many threads at once on one Backend, each call with buffers of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/matrix.hpp"
#include "kernels/rotation.hpp"

namespace longrope::kernels {

/// Arithmetic of the matrix products. Residual stream, norms, softmax statistics and NLL are float32 or wider in both.
enum class Precision : std::uint8_t {
  f32,   ///< float32 weights and activations
  bf16,  ///< bfloat16 weights, activations, K and V; float32 accumulation
  fp8,   ///< as bf16, but layer projections multiply e4m3 with a float32 scale per weight row and per token
};

/// Arithmetic of the attention's two products.
enum class AttentionPrecision : std::uint8_t {
  as_activations,  ///< f32 or bf16, as Precision says
  fp8,  ///< e4m3 with K centred, where a chunk has enough rows; for screening (kernels/cuda/attention_fp8.hpp)
};

/// Heads of an attention layer, in the order of the fused projection's output columns: q heads | k heads | v heads.
struct AttentionShape {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;  ///< divides heads
  std::int64_t head_dim = 0;
  std::int64_t rotary_dim = 0;  ///< even, <= head_dim; the remaining columns of a head are passed through

  std::int64_t qkv_cols() const { return (heads + 2 * kv_heads) * head_dim; }
};

/// A weight matrix packed once for one backend; immutable, shared by all threads.
class Linear {
 public:
  virtual ~Linear() = default;
  virtual std::int64_t in_features() const = 0;
  virtual std::int64_t out_features() const = 0;
};

/// A float32 vector (a norm's weight) in one backend's memory; immutable, shared by all threads.
class Vector {
 public:
  virtual ~Vector() = default;
  virtual std::int64_t size() const = 0;
};

/// The embedding rows of a vocabulary; immutable, shared by all threads.
class Embedding {
 public:
  virtual ~Embedding() = default;
  virtual std::int64_t vocabulary() const = 0;
};

/// The output projection of a vocabulary, packed in tiles; immutable, shared by all threads.
class LmHead {
 public:
  virtual ~LmHead() = default;
  virtual std::int64_t vocabulary() const = 0;
};

/// cos and sin for positions [0, tokens) of one candidate; immutable once made.
class RotationTable {
 public:
  virtual ~RotationTable() = default;
  virtual std::int64_t tokens() const = 0;
};

/// K and V of one layer of one window, filled front to back and reused by the next layer.
class KvBuffer {
 public:
  virtual ~KvBuffer() = default;
  virtual std::int64_t capacity_tokens() const = 0;
};

/// Device memory, 64-byte aligned, freed on destruction.
using DeviceMemory = std::shared_ptr<void>;

/// Host memory that a CopyQueue may copy from and to while the device works; freed on destruction.
using HostMemory = std::shared_ptr<void>;

/// Copies between host memory and one device that run beside the operations of the thread that made the queue and uses
/// it. A copy starts after every operation that thread has asked for, and after the queue's earlier copies; operations
/// wait for no copy unless told to. The destructor waits for all copies.
class CopyQueue {
 public:
  virtual ~CopyQueue() = default;
  /// device = host, equal shapes and types; host in memory of allocate_host. Returns the copy's number, from 0.
  virtual std::int64_t to_device(ConstMatrix host, Matrix device) = 0;
  /// host = device, likewise.
  virtual std::int64_t to_host(ConstMatrix device, Matrix host) = 0;
  /// What the thread asks for from now on starts after this copy, and so after the earlier ones.
  virtual void await(std::int64_t copy) = 0;
};

/// Inputs of Backend::rotate_qkv that are not activations.
struct RotateQkvOptions {
  AttentionShape shape;
  std::int64_t first_position = 0;  ///< position of row 0 of the chunk
  const Vector* q_norm = nullptr;   ///< [head_dim] RMSNorm weight applied per head before rotation; null: none
  const Vector* k_norm = nullptr;   ///< [head_dim]; null: none
  float norm_epsilon = 0.0F;
};

/// What Backend::rotate_sequences takes of one of several sequences at the same position.
struct SequenceRotation {
  ConstMatrix qkv;
  const RotationTable* table = nullptr;
  Matrix q;
  KvBuffer* kv = nullptr;
};

/// Operations on one device. Thread-safe. What one thread asks for happens in the order it asked; it may still be
/// running when a call returns, except where the result is in host memory (nll, argmax) and in finish().
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;
  virtual Precision precision() const = 0;
  /// Type of the activations that enter matrix products: f32, or bf16 under Precision::bf16 and fp8.
  virtual DType activation_dtype() const = 0;
  /// Type of fused projections (qkv, gate_up) and of rotated queries: f32 on the CPU, bf16 on a GPU, where these
  /// buffers' traffic counts.
  virtual DType projection_dtype() const = 0;
  /// Rows that should go through a layer at once: enough for full speed, few enough to bound the workspace.
  virtual std::int64_t preferred_chunk_tokens() const = 0;
  /// Whether a row's bits are the same whatever number of rows an operation has: true on the CPU; on a GPU the rows of
  /// a chunk decide which kernel attends and where its tiles begin.
  virtual bool rows_independent() const = 0;
  /// Whether that holds for every operation but rotate_qkv and attention, which take one sequence's rows at a time:
  /// then rows of several sequences may go through the others together, and each sequence has the bits it has alone if
  /// its attention gets the same chunks. Known once everything is packed.
  virtual bool rows_joinable() const { return rows_independent(); }

  /// Uninitialised device memory. Throws RuntimeError when there is not enough. Released by a thread that used it, or
  /// after every thread that used it has finished (nll, argmax and finish wait).
  virtual DeviceMemory allocate(std::int64_t bytes) const = 0;
  /// Waits for everything the calling thread asked for. Throws RuntimeError if any of it failed.
  virtual void finish() const = 0;

  /// A copy of host values.
  virtual std::unique_ptr<Vector> pack_vector(std::span<const float> values) const = 0;

  /// weight: host memory, [out, in], any DType; bias: [out] or empty. Packs a copy; the source may go away.
  virtual std::unique_ptr<Linear> pack_linear(ConstMatrix weight, std::span<const float> bias) const = 0;
  /// weight: host memory, [vocabulary, hidden], any DType. Keeps a copy.
  virtual std::unique_ptr<Embedding> pack_embedding(ConstMatrix weight) const = 0;
  /// weight: host memory, [vocabulary, hidden], any DType. Packs a copy.
  virtual std::unique_ptr<LmHead> pack_lm_head(ConstMatrix weight) const = 0;

  /// cos and sin of positions [0, tokens). Throws InputError unless all frequencies and the factor are finite.
  virtual std::unique_ptr<RotationTable> make_rotation_table(const RotationSpec& spec, std::int64_t tokens) const = 0;
  virtual std::unique_ptr<KvBuffer> make_kv_buffer(const AttentionShape& shape, std::int64_t capacity_tokens) const = 0;

  /// Uninitialised host memory for copies, page-locked where that makes them run beside other work. Throws RuntimeError
  /// when there is not enough.
  virtual HostMemory allocate_host(std::int64_t bytes) const = 0;
  virtual std::unique_ptr<CopyQueue> make_copy_queue() const = 0;

  /// hidden[t] = table[ids[t]]; hidden f32 [tokens, hidden]. Precondition: 0 <= ids[t] < vocabulary.
  virtual void embed(const Embedding& table, std::span<const std::int32_t> ids, Matrix hidden) const = 0;

  /// y = x / sqrt(mean(x^2) + epsilon) * weight, row by row. x f32 [rows, n], weight [n], y activation dtype [rows, n].
  virtual void rms_norm(ConstMatrix x, const Vector& weight, float epsilon, Matrix y) const = 0;

  /// y = x W^T + bias, or y += x W^T + bias. x activation dtype [rows, in], y [rows, out]: f32, or projection dtype
  /// unless accumulating.
  virtual void linear(const Linear& weight, ConstMatrix x, Matrix y, bool accumulate) const = 0;

  /// Splits a chunk of fused projections, normalises q and k per head if asked, rotates q and k by the table, and
  /// writes q ([rows, heads * head_dim], pre-multiplied by 1/sqrt(head_dim)) and rows first_position.. of kv. qkv
  /// [rows, shape.qkv_cols()]; qkv and q in the projection dtype. Under Precision::bf16 q (scaled), k and v are
  /// rounded to bf16.
  virtual void rotate_qkv(const RotateQkvOptions& options, ConstMatrix qkv, const RotationTable& table, Matrix q,
                          KvBuffer& kv) const = 0;

  /// rotate_qkv of sequences with as many rows each, to the same bits; on a GPU in a few launches for all. No two share
  /// q or kv.
  virtual void rotate_sequences(const RotateQkvOptions& options, std::span<const SequenceRotation> sequences) const {
    for (const SequenceRotation& s : sequences) rotate_qkv(options, s.qkv, *s.table, s.q, *s.kv);
  }

  /// Causal attention of a chunk of queries over keys 0 .. first_position + row, at most the last `sliding_window` of
  /// them if sliding_window > 0 (key j is visible to query i when i - j < sliding_window). Grouped queries: query head
  /// h reads kv head h / (heads / kv_heads). q as rotate_qkv wrote it; out activation dtype [rows, heads *
  /// head_dim].
  virtual void attention(const AttentionShape& shape, ConstMatrix q, const KvBuffer& kv, std::int64_t first_position,
                         std::int64_t sliding_window, Matrix out) const = 0;

  /// y = silu(gate) * up. gate_up projection dtype [rows, 2n] (gate | up), y activation dtype [rows, n].
  virtual void gated_silu(ConstMatrix gate_up, Matrix y) const = 0;

  /// nll_nats[r] = logsumexp(logits[r]) - logits[r][targets[r]], logits = x W^T, never stored whole.
  /// x activation dtype [rows, hidden]. Precondition: 0 <= targets[r] < vocabulary. Non-finite logits give NaN.
  virtual void nll(const LmHead& head, ConstMatrix x, std::span<const std::int32_t> targets,
                   std::span<double> nll_nats) const = 0;

  /// ids[r] = the entry with the largest logit, the lowest of those that are equal; -1 if a logit of the row is not
  /// finite. logits = x W^T, never stored whole. x activation dtype [rows, hidden].
  virtual void argmax(const LmHead& head, ConstMatrix x, std::span<std::int32_t> ids) const = 0;
};

/// The CPU backend. Throws InputError if precision is fp8, or bf16 and the processor has no AVX-512 bf16 product path.
std::unique_ptr<Backend> make_cpu_backend(Precision precision);

/// CUDA devices this process can use: 0 where the build has no CUDA, the machine no driver or the driver no device.
int cuda_device_count();

/// What a CUDA device is and how much of its memory is free now (bytes that this process's backends keep for reuse
/// count as free).
struct DeviceInfo {
  std::string name;
  std::int64_t total_bytes = 0;
  std::int64_t free_bytes = 0;
};
/// Throws InputError unless 0 <= device < cuda_device_count().
DeviceInfo cuda_device_info(int device);

/// The CUDA backend on one device. Throws InputError where the build has no CUDA or the machine no such device, where
/// the device is older than compute capability 8.0, if precision is f32 (a GPU multiplies bf16 or fp8), if it is fp8
/// and the device is not of compute capability 9.0, or if attention is fp8 and precision is not; RuntimeError where
/// cuBLASLt is not to be found.
std::unique_ptr<Backend> make_cuda_backend(Precision precision, int device = 0,
                                           AttentionPrecision attention = AttentionPrecision::as_activations);

}  // namespace longrope::kernels
