// Whether an algorithm gives a row of a product the same bits alone, among few rows and among many: tried on the device
// before the algorithm is used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "kernels/cuda/device.hpp"
#include "kernels/cuda/gemm_call.hpp"
#include "kernels/memory_format.hpp"

namespace longrope::kernels::cuda {

/// Rows of the largest product tried: more than the tallest tile of output (256) and one in part, and of narrow
/// products several waves of tiles. row_bytes: of x and y together.
inline std::int64_t probe_rows(std::int64_t row_bytes) {
  return std::clamp(kProbeBytes / row_bytes, kProbeRows, std::int64_t{2100});
}

/// Row numbers that go through alone: first and count. They begin in the middle, as views of a chunk do.
struct ProbePart {
  std::int64_t first;
  std::int64_t rows;
};
inline constexpr ProbePart kProbeParts[] = {{3, 77}, {5, 1}};

/// Multiplies rows that are all alike by call's weight: all of them at once, whose results must be alike, then the
/// parts, whose results must be those. x and y are scratch; of `call`, x, y, x_scales and rows are not read. multiply
/// enqueues one product and says whether the library took it. Waits for the device. Throws RuntimeError where it fails.
bool rows_agree(const Device& device, const GemmCall& call, const std::function<bool(const GemmCall&)>& multiply);

}  // namespace longrope::kernels::cuda
