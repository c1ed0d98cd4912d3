#include "kernels/cuda/upload.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/convert.hpp"
#include "kernels/cuda/check.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr std::int64_t kStagingBytes = std::int64_t{16} << 20;

/// Rows [first, first + count) of `matrix` as `dtype`, padded with zeros to padded_cols.
void convert_rows(ConstMatrix matrix, std::int64_t first, std::int64_t count, DType dtype, std::int64_t padded_cols,
                  char* out) {
  const std::int64_t row_bytes = padded_cols * bytes_of(dtype);
  if (padded_cols != matrix.cols) std::memset(out, 0, static_cast<std::size_t>(count * row_bytes));
  for (std::int64_t r = 0; r < count; ++r) {
    char* row = out + r * row_bytes;
    const std::int64_t begin = (first + r) * matrix.cols;
    if (dtype == DType::f32) {
      convert_to_float(matrix.data, matrix.dtype, begin, matrix.cols, reinterpret_cast<float*>(row));
    } else {
      const void* source = static_cast<const char*>(matrix.data) + begin * bytes_of(matrix.dtype);
      convert_to_bf16(source, matrix.dtype, 0, matrix.cols, reinterpret_cast<std::uint16_t*>(row));
    }
  }
}

}  // namespace

Uploader::~Uploader() {
  if (cudaSetDevice(device_.id()) == cudaSuccess) release();
}

void Uploader::release() const {
  for (Staging& staging : staging_) {
    if (staging.sent != nullptr) cudaEventDestroy(staging.sent);
    if (staging.memory != nullptr) cudaFreeHost(staging.memory);
    staging = {};
  }
}

void Uploader::reserve(std::int64_t bytes) const {
  if (staging_[0].bytes >= bytes && staging_[1].bytes >= bytes) return;
  release();
  for (Staging& staging : staging_) {
    check(cudaMallocHost(&staging.memory, static_cast<std::size_t>(bytes)), "upload");
    check(cudaEventCreateWithFlags(&staging.sent, cudaEventDisableTiming), "upload");
    staging.bytes = bytes;
  }
}

DeviceMemory Uploader::matrix(ConstMatrix matrix, DType dtype, std::int64_t padded_cols) const {
  const std::lock_guard lock(mutex_);
  const std::int64_t row_bytes = padded_cols * bytes_of(dtype);
  DeviceMemory memory = device_.allocate(matrix.rows * row_bytes);
  reserve(std::max(kStagingBytes, row_bytes));
  const std::int64_t rows_per_copy = std::max<std::int64_t>(1, kStagingBytes / std::max<std::int64_t>(1, row_bytes));
  std::size_t turn = 0;
  for (std::int64_t first = 0; first < matrix.rows; first += rows_per_copy, turn ^= 1U) {
    const std::int64_t count = std::min(rows_per_copy, matrix.rows - first);
    const Staging& staging = staging_[turn];
    check(cudaEventSynchronize(staging.sent), "upload");  // done at once before its first use
    convert_rows(matrix, first, count, dtype, padded_cols, static_cast<char*>(staging.memory));
    check(cudaMemcpyAsync(as<char>(memory) + first * row_bytes, staging.memory,
                          static_cast<std::size_t>(count * row_bytes), cudaMemcpyHostToDevice, stream()),
          "upload");
    check(cudaEventRecord(staging.sent, stream()), "upload");
  }
  device_.finish("upload");
  return memory;
}

DeviceMemory Uploader::vector(std::span<const float> values, DType dtype) const {
  if (values.empty()) return nullptr;
  const auto size = static_cast<std::int64_t>(values.size());
  return matrix({values.data(), DType::f32, 1, size}, dtype, size);
}

}  // namespace longrope::kernels::cuda
