// Causal attention in e4m3 with K centred, for screening on compute capability 9.0: it solves an AttentionProblem as
// the implementations of attention.hpp do, but with the errors of 4-bit significands. It is never chosen unless asked
// for.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_fp8_layout.hpp"

namespace longrope::kernels::cuda {

/// Fewer rows than these take longer to quantise K and V for than they gain. Part of what a shape decides: equal chunks
/// give equal bits.
inline constexpr std::int64_t kFewestFp8Rows = 256;

/// As attention_hopper_supports; head_dim 64, 96 or 128.
bool attention_fp8_supports(const AttentionProblem& problem);

/// Bytes of `workspace`, 256-byte aligned.
std::int64_t attention_fp8_workspace_bytes(const AttentionProblem& problem);

/// As attention_hopper. Holds no state: all visible K and V are quantised anew for every chunk, which reads them twice:
/// some 2% of a chunk's time, by bytes and FLOPs.
void attention_fp8(const AttentionProblem& problem, void* workspace, cudaStream_t stream);

}  // namespace longrope::kernels::cuda
