#include "kernels/check.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/weights.hpp"

namespace longrope::kernels::cuda {

CudaEmbedding::CudaEmbedding(const Context& context, ConstMatrix weight)
    : vocabulary_(weight.rows), hidden_(weight.cols), dtype_(weight.dtype == DType::bf16 ? DType::bf16 : DType::f32) {
  require(vocabulary_ > 0 && hidden_ > 0, "embedding", "the table must not be empty", vocabulary_ * hidden_);
  require_matrix(weight, "embedding", "the table", vocabulary_, hidden_, weight.dtype);
  rows_ = context.uploader.matrix(weight, dtype_, hidden_);
}

void CudaEmbedding::look_up(const Device& device, std::span<const std::int32_t> ids, Matrix hidden) const {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  require_matrix(hidden, "embed", "hidden", tokens, hidden_, DType::f32);
  require_ids(ids, vocabulary_, "embed", "ids must be in the vocabulary");
  if (tokens == 0) return;
  device.use();
  const DeviceMemory device_ids = device.allocate(tokens * static_cast<std::int64_t>(sizeof(std::int32_t)));
  check(cudaMemcpyAsync(device_ids.get(), ids.data(), ids.size_bytes(), cudaMemcpyHostToDevice, stream()), "embed");
  launch_embed(rows_.get(), dtype_, as<const std::int32_t>(device_ids), tokens, hidden_,
               static_cast<float*>(hidden.data), stream());
}

}  // namespace longrope::kernels::cuda
