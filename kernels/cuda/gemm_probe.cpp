#include "kernels/cuda/gemm_probe.hpp"

#include <random>
#include <vector>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr const char* kWhere = "gemm";
constexpr int kFill = 0x3C;  // as float32 0.0115: y's old content where it is added to, and the scales of fp8 rows

/// Bytes of numbers between 0.5 and 2 of either sign, in e4m3 or bf16.
std::vector<std::uint8_t> random_row(std::int64_t columns, bool fp8) {
  std::mt19937 draw(20261127);  // the same each time
  std::vector<std::uint8_t> bytes;
  for (std::int64_t i = 0; i < columns; ++i) {
    const auto bits = static_cast<std::uint32_t>(draw());
    if (fp8) {
      bytes.push_back(static_cast<std::uint8_t>(0x30U | (bits & 0x8FU)));
    } else {
      bytes.push_back(static_cast<std::uint8_t>(bits));
      bytes.push_back(static_cast<std::uint8_t>(0x3FU | (bits >> 8U & 0x80U)));
    }
  }
  return bytes;
}

}  // namespace

bool rows_agree(const Device& device, const GemmCall& call, const std::function<bool(const GemmCall&)>& multiply) {
  const std::vector<std::uint8_t> row = random_row(call.in, call.fp8());
  const auto x_pitch = static_cast<std::int64_t>(row.size());
  const std::int64_t y_pitch = call.y_stride * bytes_of(call.y_dtype);
  const std::int64_t y_bytes = call.out * bytes_of(call.y_dtype);
  const std::int64_t rows = probe_rows(x_pitch + y_pitch);
  const auto size = [](std::int64_t bytes) { return static_cast<std::size_t>(bytes); };

  const DeviceMemory x = device.allocate(rows * x_pitch);
  const DeviceMemory y = device.allocate(rows * y_pitch);
  const DeviceMemory scales = device.allocate(call.fp8() ? rows * bytes_of(DType::f32) : 0);
  const DeviceMemory expected = device.allocate(y_bytes);
  const DeviceMemory differs = device.allocate(sizeof(std::int32_t));
  check(cudaMemcpyAsync(x.get(), row.data(), row.size(), cudaMemcpyHostToDevice, stream()), kWhere);
  for (std::int64_t filled = 1; filled < rows; filled *= 2) {
    check(cudaMemcpyAsync(as<char>(x) + filled * x_pitch, x.get(), size(std::min(filled, rows - filled) * x_pitch),
                          cudaMemcpyDeviceToDevice, stream()),
          kWhere);
  }
  if (call.fp8()) check(cudaMemsetAsync(scales.get(), kFill, size(rows * 4), stream()), kWhere);
  check(cudaMemsetAsync(differs.get(), 0, sizeof(std::int32_t), stream()), kWhere);

  const auto compare = [&](const ProbePart& part, bool first) {
    check(cudaMemsetAsync(y.get(), kFill, size(rows * y_pitch), stream()), kWhere);
    GemmCall product = call;
    product.x = as<const char>(x) + part.first * x_pitch;
    product.y = as<char>(y) + part.first * y_pitch;
    if (call.fp8()) product.x_scales = as<const float>(scales);  // all alike, and aligned as a call's own are
    product.rows = part.rows;
    if (!multiply(product)) return false;
    if (first) {
      check(cudaMemcpyAsync(expected.get(), y.get(), size(y_bytes), cudaMemcpyDeviceToDevice, stream()), kWhere);
    }
    launch_find_other_rows(product.y, y_pitch, part.rows, expected.get(), y_bytes, as<std::int32_t>(differs), stream());
    return true;
  };
  if (!compare({0, rows}, true)) return false;
  for (const ProbePart& part : kProbeParts) {
    if (!compare(part, false)) return false;
  }
  std::int32_t found = 0;
  check(cudaMemcpyAsync(&found, differs.get(), sizeof(found), cudaMemcpyDeviceToHost, stream()), kWhere);
  device.finish(kWhere);
  return found == 0;
}

}  // namespace longrope::kernels::cuda
