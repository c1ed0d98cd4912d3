// Compiled where the build found no cuDNN headers: defines the same symbols and says so.
#include "kernels/cuda/attention_cudnn.hpp"

#include "kernels/error.hpp"

namespace longrope::kernels::cuda {

std::string attention_cudnn_refusal(const AttentionProblem&) {
  return "this program was built without cuDNN's headers";
}

bool attention_cudnn_supports(const AttentionProblem&) { return false; }

void attention_cudnn(const AttentionProblem& problem, cudaStream_t) {
  throw RuntimeError("[attention] cuDNN's attention must be there but got none (" + attention_cudnn_refusal(problem) +
                     ")");
}

}  // namespace longrope::kernels::cuda
