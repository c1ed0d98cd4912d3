// Which implementation of causal attention solves a problem.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <span>

#include "kernels/cuda/attention.hpp"

namespace longrope::kernels::cuda {

enum class AttentionKind : std::uint8_t { hopper, cudnn, portable, plain };

struct AttentionImplementation {
  AttentionKind kind;
  const char* name;
  bool (*supports)(const AttentionProblem&);
  void (*run)(const AttentionProblem&, cudaStream_t);
};

/// All implementations, one of each kind, in the order of the kinds.
std::span<const AttentionImplementation> attention_implementations();

/// The kinds in the order in which they are asked to solve a problem, the fastest first. Depends on the problem's shape
/// alone, so that equal chunks give equal bits. Touches no device.
std::array<AttentionKind, 4> attention_preference(const AttentionProblem& problem);

/// Of `implementations`, the one that attention_preference names first among those that support the problem. Throws
/// InputError if none does.
const AttentionImplementation& choose_attention(std::span<const AttentionImplementation> implementations,
                                                const AttentionProblem& problem);

}  // namespace longrope::kernels::cuda
