// Which implementation of causal attention solves a problem.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "kernels/cuda/attention.hpp"

namespace longrope::kernels::cuda {

enum class AttentionKind : std::uint8_t { cudnn, hopper, portable, plain };

struct AttentionImplementation {
  AttentionKind kind;
  const char* name;
  bool (*supports)(const AttentionProblem&);
  void (*run)(const AttentionProblem&, cudaStream_t);
};

/// All implementations, the fastest first.
std::span<const AttentionImplementation> attention_implementations();

/// The first of `implementations` that supports the problem. Throws InputError if none does.
const AttentionImplementation& choose_attention(std::span<const AttentionImplementation> implementations,
                                                const AttentionProblem& problem);

}  // namespace longrope::kernels::cuda
