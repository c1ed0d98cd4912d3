// A small attention problem solved twice, to find out whether this machine's cuDNN computes what it says.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>

#include "kernels/cuda/attention_cudnn_shape.hpp"

namespace longrope::kernels::cuda {

/// Solves a problem of the family with `run` and with attention_plain on the current device and waits for both. Empty
/// when they agree to what bfloat16 rounds, else the difference in words. Throws RuntimeError with CUDA's words.
std::string cudnn_attention_trial(const CudnnAttentionFamily& family,
                                  const std::function<void(const AttentionProblem&, cudaStream_t)>& run);

}  // namespace longrope::kernels::cuda
