// Tensors of a checkpoint directory: model.safetensors, or the shards of model.safetensors.index.json, memory-mapped.
// Format: https://huggingface.co/docs/safetensors (u64 little-endian header length, JSON header, data without holes).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/matrix.hpp"

namespace longrope::model {

/// A tensor inside a mapped file; valid while its TensorFiles lives.
struct TensorView {
  std::string name;
  kernels::DType dtype = kernels::DType::f32;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;  ///< may be misaligned for its type
  std::int64_t bytes = 0;
};

/// All tensors of a checkpoint directory.
class TensorFiles {
 public:
  /// Maps and checks every file. Throws InputError naming file, tensor and byte offset: truncated or lying headers,
  /// overlapping or out-of-range offsets, shape x dtype != bytes, duplicate names, shards that the index does not
  /// match. Tensors of other dtypes than F32, F16 and BF16 may be there; `require` refuses them.
  explicit TensorFiles(const std::filesystem::path& directory);
  ~TensorFiles();
  TensorFiles(TensorFiles&&) noexcept;
  TensorFiles& operator=(TensorFiles&&) noexcept;

  bool contains(const std::string& name) const;
  /// The tensor, of exactly this shape. Throws InputError: absent, other shape, unsupported dtype, or (checked once,
  /// here) holding NaN or infinity.
  TensorView require(const std::string& name, const std::vector<std::int64_t>& shape) const;
  /// Files the tensors came from, in name order.
  std::vector<std::filesystem::path> files() const;
  /// Elements of all tensors.
  std::int64_t parameters() const;
  /// Hex SHA-256 of every tensor's name, dtype, shape and evenly spaced samples of its bytes: tells checkpoints of one
  /// config apart (a fine-tuned one from its base) without reading all of them.
  std::string sample_sha256() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace longrope::model
