#include "kernels/check.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/weights.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr std::int64_t kBf16Columns = 8;  // 16 bytes
constexpr std::int64_t kFp8Multiple = 16;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

PaddedRows::PaddedRows(const Device& device, ConstMatrix x, std::int64_t padded_cols) : data(x.data) {
  if (padded_cols == x.cols || x.rows == 0) return;
  const auto width = static_cast<std::size_t>(x.cols * bytes_of(x.dtype));
  const auto pitch = static_cast<std::size_t>(padded_cols * bytes_of(x.dtype));
  const auto rows = static_cast<std::size_t>(x.rows);
  copy = device.allocate(static_cast<std::int64_t>(pitch * rows));
  check(cudaMemsetAsync(copy.get(), 0, pitch * rows, stream()), "linear");
  check(cudaMemcpy2DAsync(copy.get(), pitch, x.data, width, width, rows, cudaMemcpyDeviceToDevice, stream()), "linear");
  data = copy.get();
}

CudaLinear::CudaLinear(const Context& context, ConstMatrix weight, std::span<const float> bias, bool fp8)
    : in_(weight.cols), out_(weight.rows), padded_in_(round_up(in_, kBf16Columns)) {
  require(in_ > 0 && out_ > 0, "linear", "the weight must not be empty", in_ * out_);
  require_matrix(weight, "linear", "weight", out_, in_, weight.dtype);
  require(bias.empty() || static_cast<std::int64_t>(bias.size()) == out_, "linear",
          "bias must have one element per output feature", static_cast<std::int64_t>(bias.size()));
  weight_ = context.uploader.matrix(weight, DType::bf16, padded_in_);
  bias_f32_ = context.uploader.vector(bias, DType::f32);
  bias_bf16_ = context.uploader.vector(bias, DType::bf16);
  if (fp8 && in_ % kFp8Multiple == 0 && out_ % kFp8Multiple == 0) {
    const DeviceMemory quantized = context.device.allocate(out_ * in_);
    scales_ = context.device.allocate(out_ * bytes_of(DType::f32));
    launch_quantize_rows(weight_.get(), out_, in_, quantized.get(), as<float>(scales_), stream());
    context.device.finish("linear");
    weight_ = quantized;
  }
  // What a model does with projections; here, so that it is known before the first window whether rows may be joined.
  context.gemm.prepare(product(DType::bf16, false));
  context.gemm.prepare(product(DType::f32, true));
}

GemmCall CudaLinear::product(DType y_dtype, bool accumulate) const {
  GemmCall call;
  call.weight = weight_.get();
  call.weight_scales = call.x_scales = as<const float>(scales_);
  call.bias = bias_dtype(fp8(), y_dtype) == DType::f32 ? bias_f32_.get() : bias_bf16_.get();
  call.y_dtype = y_dtype;
  call.in = fp8() ? in_ : padded_in_;
  call.out = out_;
  call.y_stride = out_;
  call.accumulate = accumulate;
  return call;
}

void CudaLinear::apply(const Context& context, ConstMatrix x, Matrix y, bool accumulate) const {
  require_matrix(x, "linear", "x", y.rows, in_, DType::bf16);
  require(y.dtype == DType::f32 || (y.dtype == DType::bf16 && !accumulate), "linear",
          "y must be f32, or bf16 without accumulation", static_cast<std::int64_t>(y.dtype));
  require_matrix(y, "linear", "y", x.rows, out_, y.dtype);
  context.device.use();
  GemmCall call = product(y.dtype, accumulate);
  call.y = y.data;
  call.rows = x.rows;
  if (!fp8()) {
    const PaddedRows rows(context.device, x, padded_in_);
    call.x = rows.data;
    context.gemm.run(call);
    return;
  }
  const DeviceMemory quantized = context.device.allocate(x.rows * in_);
  const DeviceMemory scales = context.device.allocate(x.rows * bytes_of(DType::f32));
  launch_quantize_rows(x.data, x.rows, in_, quantized.get(), as<float>(scales), stream());
  call.x = quantized.get();
  call.x_scales = as<const float>(scales);
  context.gemm.run(call);
}

}  // namespace longrope::kernels::cuda
