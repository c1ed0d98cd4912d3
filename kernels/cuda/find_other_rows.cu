// Whether all rows of a matrix have the bits of a given one.
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/launches.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// One block per row.
__global__ void __launch_bounds__(kThreads)
    find_other_rows_kernel(const char* matrix, std::int64_t pitch_bytes, const std::uint16_t* expected,
                           std::int64_t words, std::int32_t* differs) {
  const auto* row = reinterpret_cast<const std::uint16_t*>(matrix + blockIdx.x * pitch_bytes);
  bool same = true;
  for (std::int64_t i = threadIdx.x; i < words; i += kThreads) same = same && row[i] == expected[i];
  if (!same) *differs = 1;  // whoever writes, writes the same
}

}  // namespace

void launch_find_other_rows(const void* matrix, std::int64_t pitch_bytes, std::int64_t rows, const void* expected,
                            std::int64_t row_bytes, std::int32_t* differs, cudaStream_t stream) {
  if (rows == 0) return;
  find_other_rows_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(
      static_cast<const char*>(matrix), pitch_bytes, static_cast<const std::uint16_t*>(expected), row_bytes / 2,
      differs);
  check_launch("gemm");
}

}  // namespace longrope::kernels::cuda
