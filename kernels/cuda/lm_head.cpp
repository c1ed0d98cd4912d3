#include <algorithm>

#include "kernels/check.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/weights.hpp"

namespace longrope::kernels::cuda {
namespace {

// A tile of logits is at most 8192 x 8192 float32, 256 MiB: products large enough to run at full rate; what the loss
// reads back, 4 bytes per 2 * hidden FLOP, is a few percent of their time.
constexpr std::int64_t kRowsPerBlock = 8192;
constexpr std::int64_t kTileMultiple = 128;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// The fewest tiles that cover the vocabulary, as equal as their granularity allows.
std::int64_t tile_size(std::int64_t vocabulary) {
  const std::int64_t tiles = (vocabulary + kMaxLogitTile - 1) / kMaxLogitTile;
  return std::min(kMaxLogitTile, round_up((vocabulary + tiles - 1) / tiles, kTileMultiple));
}

}  // namespace

CudaLmHead::CudaLmHead(const Context& context, ConstMatrix weight)
    : vocabulary_(weight.rows),
      hidden_(weight.cols),
      padded_hidden_(round_up(weight.cols, 8)),
      tile_(vocabulary_ > 0 ? tile_size(vocabulary_) : 0) {
  require(vocabulary_ > 0 && hidden_ > 0, "lm_head", "the vocabulary must not be empty", vocabulary_);
  require_matrix(weight, "lm_head", "weight", vocabulary_, hidden_, weight.dtype);
  weight_ = context.uploader.matrix(weight, DType::bf16, padded_hidden_);
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
  const std::int64_t block = std::min(rows, kRowsPerBlock);
  const DeviceMemory logits = device.allocate(block * tile_ * bytes_of(DType::f32));
  const DeviceMemory states = device.allocate(block * static_cast<std::int64_t>(sizeof(LogitState)));
  const DeviceMemory values = device.allocate(rows * static_cast<std::int64_t>(sizeof(double)));
  const std::int64_t row_bytes = padded_hidden_ * bytes_of(DType::bf16);
  for (std::int64_t begin = 0; begin < rows; begin += block) {
    for (std::int64_t first = 0; first < vocabulary_; first += tile_) {
      GemmCall call;
      call.weight = as<const char>(weight_) + first * row_bytes;
      call.x = static_cast<const char*>(input.data) + begin * row_bytes;
      call.y = logits.get();
      call.y_dtype = DType::f32;
      call.rows = std::min(block, rows - begin);
      call.in = padded_hidden_;
      call.out = std::min(tile_, vocabulary_ - first);
      call.y_stride = tile_;
      context.gemm.run(call);
      LogitTile tile;
      tile.logits = as<const float>(logits);
      tile.stride = tile_;
      tile.rows = call.rows;
      tile.first_entry = first;
      tile.count = call.out;
      tile.targets = as<const std::int32_t>(device_targets) + begin;
      tile.states = as<LogitState>(states);
      if (first + tile_ >= vocabulary_) tile.nll = as<double>(values) + begin;
      launch_logit_sums(tile, stream());
    }
  }
  check(cudaMemcpyAsync(nll_nats.data(), values.get(), nll_nats.size_bytes(), cudaMemcpyDeviceToHost, stream()), "nll");
  device.finish("nll");
}

}  // namespace longrope::kernels::cuda
