// Tensor maps for TMA copies. The driver makes them; its entry point is asked for at run time, so that nothing links
// libcuda and a machine without a driver can still load the program.
#pragma once

#include <cuda.h>  // CUtensorMap: types only

#include <cstdint>

namespace longrope::kernels::cuda {

enum class TensorElement : std::uint8_t { bf16, e4m3 };

/// A tensor [extent[2], extent[1], extent[0]], row-major and dense: innermost extent first, as TMA counts.
struct TensorMapShape {
  std::int64_t extent[3];
  int box[3];  ///< what one copy moves; box[0] is 128 bytes, the swizzle's width, the others at most 256
  TensorElement element = TensorElement::bf16;
};

/// Whether the driver can make tensor maps (CUDA 12 and later). Never throws.
bool tensor_maps_available();

/// A map with 128-byte swizzle whose reads beyond the tensor give zeros. `base` is 16-byte aligned, a row of
/// extent[0] elements a multiple of 16 bytes. Throws RuntimeError "[where] ..." when the driver refuses or is too old.
CUtensorMap make_tensor_map(const void* base, const TensorMapShape& shape, const char* where);

}  // namespace longrope::kernels::cuda
