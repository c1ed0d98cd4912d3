// Compiled where the build has no CUDA: defines the same symbols and says so.
#include "kernels/backend.hpp"

#include "kernels/error.hpp"

namespace longrope::kernels {

namespace {

[[noreturn]] void refuse() {
  throw InputError("[backend] this program was built without CUDA (use --backend cpu, or rebuild with a CUDA toolkit)");
}

}  // namespace

int cuda_device_count() { return 0; }

DeviceInfo cuda_device_info(int) { refuse(); }

std::unique_ptr<Backend> make_cuda_backend(Precision, int, AttentionPrecision) { refuse(); }

}  // namespace longrope::kernels
