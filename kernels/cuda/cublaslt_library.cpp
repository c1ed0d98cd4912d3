#include "kernels/cuda/cublaslt_library.hpp"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <string>
#include <vector>

#include "kernels/error.hpp"

namespace longrope::kernels::cuda {
namespace {

/// The version this was compiled against first; the API used here is the same in both.
std::vector<std::string> candidates() {
  std::vector<std::string> names;
  const int built = CUDART_VERSION / 1000;
  for (const int major : {built, built == 13 ? 12 : 13}) {
    const std::string name = "libcublasLt.so." + std::to_string(major);
    names.push_back(name);
    names.push_back("/usr/local/cuda/lib64/" + name);
  }
  return names;
}

void* open_library() {
  std::string tried;
  for (const std::string& name : candidates()) {
    if (void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    tried += (tried.empty() ? "" : ", ") + name;
  }
  throw RuntimeError("[backend] cuBLASLt must be installed but none of these loads: " + tried +
                     " (put its folder into LD_LIBRARY_PATH)");
}

template <class Function>
void find(void* library, const char* name, Function& function) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) throw RuntimeError("[backend] cuBLASLt must have " + std::string(name) + " but lacks it");
  function = reinterpret_cast<Function>(symbol);
}

CublasLt load() {
  void* library = open_library();
  CublasLt lt;
  find(library, "cublasLtCreate", lt.create);
  find(library, "cublasLtDestroy", lt.destroy);
  find(library, "cublasLtGetVersion", lt.version);
  find(library, "cublasLtGetStatusString", lt.status_string);
  find(library, "cublasLtMatmul", lt.matmul);
  find(library, "cublasLtMatmulAlgoGetHeuristic", lt.heuristic);
  find(library, "cublasLtMatmulAlgoCheck", lt.algorithm_check);
  find(library, "cublasLtMatmulAlgoConfigGetAttribute", lt.algorithm_get);
  find(library, "cublasLtMatmulDescCreate", lt.desc_create);
  find(library, "cublasLtMatmulDescDestroy", lt.desc_destroy);
  find(library, "cublasLtMatmulDescSetAttribute", lt.desc_set);
  find(library, "cublasLtMatrixLayoutCreate", lt.layout_create);
  find(library, "cublasLtMatrixLayoutDestroy", lt.layout_destroy);
  find(library, "cublasLtMatmulPreferenceCreate", lt.preference_create);
  find(library, "cublasLtMatmulPreferenceDestroy", lt.preference_destroy);
  find(library, "cublasLtMatmulPreferenceSetAttribute", lt.preference_set);
  return lt;
}

}  // namespace

const CublasLt& CublasLt::instance() {
  static const CublasLt library = load();
  return library;
}

void CublasLt::check(cublasStatus_t status, const char* where) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw RuntimeError("[" + std::string(where) + "] cuBLASLt must succeed but got " + status_string(status));
}

}  // namespace longrope::kernels::cuda
