// CUDA's return codes as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "kernels/error.hpp"

namespace longrope::kernels::cuda {

/// Throws RuntimeError "[where] CUDA must succeed but got NAME: TEXT" unless status is cudaSuccess; clears the error.
inline void check(cudaError_t status, const char* where) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw RuntimeError("[" + std::string(where) + "] CUDA must succeed but got " + cudaGetErrorName(status) + ": " +
                     cudaGetErrorString(status));
}

/// The same for a kernel launch just made.
inline void check_launch(const char* where) { check(cudaGetLastError(), where); }

}  // namespace longrope::kernels::cuda
