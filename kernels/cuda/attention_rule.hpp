// What every fast attention implementation asks of a problem's shape.
#pragma once

#include <string>

#include "kernels/cuda/attention.hpp"

namespace longrope::kernels::cuda {

/// "rule but got value" for the value of `problem` that makes no sense or that no fast implementation takes (head_dim
/// must be a multiple of 8 from 32 to 256); empty when there is none. Touches no device.
std::string attention_rule(const AttentionProblem& problem);

}  // namespace longrope::kernels::cuda
