// Compiled where the build has no CUDA: defines the same symbol and says so.
#include "kernels/backend.hpp"

#include "kernels/error.hpp"

namespace longrope::kernels {

std::unique_ptr<Backend> make_cuda_backend(Precision) {
  throw InputError("[backend] this program was built without CUDA (use --backend cpu, or rebuild with a CUDA toolkit)");
}

}  // namespace longrope::kernels
