#include "kernels/cuda/attention_select.hpp"

#include <algorithm>
#include <string>

#include "kernels/check.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr std::array kImplementations{
    AttentionImplementation{AttentionKind::hopper, "hopper", attention_hopper_supports, attention_hopper},
    AttentionImplementation{AttentionKind::cudnn, "cudnn", attention_cudnn_supports, attention_cudnn},
    AttentionImplementation{AttentionKind::portable, "portable", attention_portable_supports, attention_portable},
    AttentionImplementation{AttentionKind::plain, "plain", attention_plain_supports, attention_plain},
};

/// Whether what cuDNN's kernels gain over the portable one pays for its plan, 0.1 to 1 s for every number of rows and
/// keys: with 4k rows and keys, after about a thousand runs (32 layers, 30 windows).
bool outweighs_a_plan(const AttentionProblem& problem) {
  constexpr std::int64_t kScores = std::int64_t{1} << 24;
  const std::int64_t seen =
      problem.sliding_window > 0 ? std::min(problem.sliding_window, problem.keys()) : problem.keys();
  return seen > 0 && problem.rows >= (kScores + seen - 1) / seen;
}

}  // namespace

std::span<const AttentionImplementation> attention_implementations() { return kImplementations; }

// Causal TFLOP/s on an H200 in one run of kernel_bench (cuDNN 9.19; heads 32/8; experiments/benchmarks/gpu/RESULTS.md):
//   head_dim  rows x keys   hopper               cudnn   portable
//   64        32k x 32k     520                  466     327
//   80        16k x 16k                          397     294
//   96        16k x 16k     496 (run as 128)     466     360
//   128       32k x 32k     664                  622     394
//   128       128k x 128k   669                  561     396
//   192       16k x 16k                          623     230
//   256       16k x 16k     649                  649     313
//   256       8k x 128k     676                  625     307
std::array<AttentionKind, 4> attention_preference(const AttentionProblem& problem) {
  using enum AttentionKind;
  if (!outweighs_a_plan(problem)) return {hopper, portable, cudnn, plain};
  return {hopper, cudnn, portable, plain};
}

const AttentionImplementation& choose_attention(std::span<const AttentionImplementation> implementations,
                                                const AttentionProblem& problem) {
  for (const AttentionKind kind : attention_preference(problem)) {
    for (const AttentionImplementation& implementation : implementations) {
      if (implementation.kind == kind && implementation.supports(problem)) return implementation;
    }
  }
  throw InputError("[attention] head_dim must be in 1 .. 256 but got " + std::to_string(problem.head_dim));
}

}  // namespace longrope::kernels::cuda
