// Host side: whether a Hopper kernel of this build runs on the current device.
#pragma once

#include <cuda_runtime.h>

namespace longrope::kernels::cuda::hopper {

/// Whether the current device is of compute capability 9.0. Never throws.
inline bool is_hopper() {
  int device = 0;
  int major = 0;
  int minor = 0;
  const bool known = cudaGetDevice(&device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
  if (!known) cudaGetLastError();
  return known && major == 9 && minor == 0;
}

/// Whether this build carries the kernel's sm_90a code and the driver has it for the current device. For kernels that
/// are empty on other architectures and have static shared memory on this one. Never throws.
template <class Kernel>
bool kernel_present(Kernel* kernel) {
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  return attributes.sharedSizeBytes > 0;
}

}  // namespace longrope::kernels::cuda::hopper
