// Why cuDNN's fused attention cannot solve a problem here; the operation itself is declared in attention.hpp.
#pragma once

#include <string>

#include "kernels/cuda/attention.hpp"

namespace longrope::kernels::cuda {

/// Empty when attention_cudnn_supports(problem) is true, else the reason: a rule on the shape, the loader's words when
/// there is no libcudnn.so.9, cuDNN's words when it refuses. Remembered per device, so cheap after the first call.
std::string attention_cudnn_refusal(const AttentionProblem& problem);

}  // namespace longrope::kernels::cuda
