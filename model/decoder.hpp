// What the passes over a loaded checkpoint share: its backend, packed weights and shapes. Transformer scores whole
// windows with it layer by layer, Generator continues one sequence with the K and V of all layers held.
#pragma once

#include "kernels/backend.hpp"
#include "model/layer_weights.hpp"
#include "model/memory_plan.hpp"
#include "model/model_config.hpp"

namespace longrope::model {

/// Device memory of one matrix.
class Buffer {
 public:
  Buffer(const kernels::Backend& backend, kernels::DType dtype, std::int64_t rows, std::int64_t cols)
      : memory_(backend.allocate(rows * cols * kernels::bytes_of(dtype))), matrix_{memory_.get(), dtype, rows, cols} {}
  kernels::Matrix rows(std::int64_t count) const { return matrix_.row_range(0, count); }
  kernels::Matrix row_range(std::int64_t first, std::int64_t count) const { return matrix_.row_range(first, count); }

 private:
  kernels::DeviceMemory memory_;
  kernels::Matrix matrix_;
};

struct Decoder {
  const kernels::Backend& backend;
  WindowLayout layout;
  ModelConfig config;
  Weights weights;
  kernels::AttentionShape shape;
};

}  // namespace longrope::model
