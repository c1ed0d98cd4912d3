#include "kernels/cuda/attention_select.hpp"

#include <array>

#include "kernels/check.hpp"

namespace longrope::kernels::cuda {
namespace {

// The order is that of their measured rates on Hopper, where all of them run; elsewhere the first that can.
constexpr std::array kImplementations{
    AttentionImplementation{AttentionKind::plain, "plain", attention_plain_supports, attention_plain},
};

}  // namespace

std::span<const AttentionImplementation> attention_implementations() { return kImplementations; }

const AttentionImplementation& choose_attention(std::span<const AttentionImplementation> implementations,
                                                const AttentionProblem& problem) {
  for (const AttentionImplementation& implementation : implementations) {
    if (implementation.supports(problem)) return implementation;
  }
  throw InputError("[attention] head_dim must be in 1 .. 256 but got " + std::to_string(problem.head_dim));
}

}  // namespace longrope::kernels::cuda
