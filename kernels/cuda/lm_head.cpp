#include <vector>

#include "kernels/check.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/logit_tiles.hpp"
#include "kernels/cuda/loss.hpp"
#include "kernels/cuda/weights.hpp"

namespace longrope::kernels::cuda {

CudaLmHead::CudaLmHead(const Context& context, ConstMatrix weight)
    : vocabulary_(weight.rows), hidden_(weight.cols), padded_hidden_((weight.cols + 7) / 8 * 8) {
  require(vocabulary_ > 0 && hidden_ > 0, "lm_head", "the vocabulary must not be empty", vocabulary_);
  require_matrix(weight, "lm_head", "weight", vocabulary_, hidden_, weight.dtype);
  weight_ = context.uploader.matrix(weight, DType::bf16, padded_hidden_);
  const LossProblem any{.rows = 1, .columns = padded_hidden_, .vocabulary = vocabulary_};
  if (loss_for(any).run != loss_tiles) return;  // the fused kernel sums each row in an order of its own
  prepare_logit_tiles(context, {nullptr, weight_.get(), 0, padded_hidden_, vocabulary_});
}

void CudaLmHead::nll(const Context& context, ConstMatrix x, std::span<const std::int32_t> targets,
                     std::span<double> nll_nats) const {
  const auto rows = static_cast<std::int64_t>(targets.size());
  require_matrix(x, "nll", "x", rows, hidden_, DType::bf16);
  require(nll_nats.size() == targets.size(), "nll", "nll_nats must have one element per target",
          static_cast<std::int64_t>(nll_nats.size()));
  require_ids(targets, vocabulary_, "nll", "targets must be in the vocabulary");
  if (rows == 0) return;
  const Device& device = context.device;
  device.use();
  const PaddedRows input(device, x, padded_hidden_);
  const DeviceMemory device_targets = device.allocate(rows * static_cast<std::int64_t>(sizeof(std::int32_t)));
  check(cudaMemcpyAsync(device_targets.get(), targets.data(), targets.size_bytes(), cudaMemcpyHostToDevice, stream()),
        "nll");
  const DeviceMemory values = device.allocate(rows * static_cast<std::int64_t>(sizeof(double)));
  const LossProblem problem{.x = input.data,
                            .weight = weight_.get(),
                            .targets = as<const std::int32_t>(device_targets),
                            .nll = as<double>(values),
                            .rows = rows,
                            .columns = padded_hidden_,
                            .vocabulary = vocabulary_};
  loss_for(problem).run(context, problem);
  check(cudaMemcpyAsync(nll_nats.data(), values.get(), nll_nats.size_bytes(), cudaMemcpyDeviceToHost, stream()), "nll");
  device.finish("nll");
}

void CudaLmHead::argmax(const Context& context, ConstMatrix x, std::span<std::int32_t> ids) const {
  const auto rows = static_cast<std::int64_t>(ids.size());
  require_matrix(x, "argmax", "x", rows, hidden_, DType::bf16);
  if (rows == 0) return;
  const Device& device = context.device;
  device.use();
  const PaddedRows input(device, x, padded_hidden_);
  const DeviceMemory choices = device.allocate(rows * static_cast<std::int64_t>(sizeof(LogitChoice)));
  for_each_logit_tile(context, {input.data, weight_.get(), rows, padded_hidden_, vocabulary_},
                      [&](const LogitBlock& logits) {
                        launch_largest_logits({logits.logits, logits.stride, logits.rows, logits.first_entry,
                                               logits.count, as<LogitChoice>(choices) + logits.first_row},
                                              stream());
                      });
  std::vector<LogitChoice> found(ids.size());
  check(cudaMemcpyAsync(found.data(), choices.get(), found.size() * sizeof(LogitChoice), cudaMemcpyDeviceToHost,
                        stream()),
        "argmax");
  device.finish("argmax");
  for (std::size_t r = 0; r < ids.size(); ++r) ids[r] = found[r].entry;
}

}  // namespace longrope::kernels::cuda
