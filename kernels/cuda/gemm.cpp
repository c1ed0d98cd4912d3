#include "kernels/cuda/gemm.hpp"

#include <algorithm>
#include <string>

#include "kernels/error.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

// Names of cuBLAS 12.9; their values, so that older toolkits compile this (their library then refuses the setting).
constexpr auto kScaleModeA = static_cast<cublasLtMatmulDescAttributes_t>(31);
constexpr auto kScaleModeB = static_cast<cublasLtMatmulDescAttributes_t>(32);
constexpr std::int32_t kScalePerRow = 3;  // CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F

/// The largest power of two up to 256 that divides the address: what the algorithm may assume.
std::uint32_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer) | 256U;
  return static_cast<std::uint32_t>(address & (~address + 1U));
}

cudaDataType_t data_type(DType dtype) { return dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF; }

}  // namespace

/// cuBLASLt's own words for a call. It thinks in columns: a row-major [rows, in] is its column-major [in, rows], so the
/// product is y^T [out, rows] = (W^T)^T x^T with leading dimensions in, in and y_stride.
struct Gemm::Descriptors {
  Descriptors(const CublasLt& library, const GemmCall& call) : lt(library) {
    const cudaDataType_t operand = call.fp8() ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    lt.check(lt.desc_create(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "gemm");
    const cublasOperation_t transpose = CUBLAS_OP_T;
    set(CUBLASLT_MATMUL_DESC_TRANSA, transpose);
    if (call.fp8()) {
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, call.weight_scales);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, call.x_scales);
      set(kScaleModeA, kScalePerRow);
      set(kScaleModeB, kScalePerRow);
    }
    if (call.bias != nullptr) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      const auto type = static_cast<std::int32_t>(data_type(bias_dtype(call.fp8(), call.y_dtype)));
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
    }
    const auto in = static_cast<std::uint64_t>(call.in);
    const auto out = static_cast<std::uint64_t>(call.out);
    const auto rows = static_cast<std::uint64_t>(call.rows);
    lt.check(lt.layout_create(&a, operand, in, out, call.in), "gemm");
    lt.check(lt.layout_create(&b, operand, in, rows, call.in), "gemm");
    lt.check(lt.layout_create(&d, data_type(call.y_dtype), out, rows, call.y_stride), "gemm");
  }
  ~Descriptors() {
    if (d != nullptr) lt.layout_destroy(d);
    if (b != nullptr) lt.layout_destroy(b);
    if (a != nullptr) lt.layout_destroy(a);
    if (operation != nullptr) lt.desc_destroy(operation);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    lt.check(lt.desc_set(operation, attribute, &value, sizeof(value)), "gemm");
  }

  const CublasLt& lt;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr;
  cublasLtMatrixLayout_t b = nullptr;
  cublasLtMatrixLayout_t d = nullptr;
};

Gemm::Gemm(const Device& device) : device_(device), lt_(CublasLt::instance()) {
  device_.use();
  lt_.check(lt_.create(&handle_), "backend");
}

Gemm::~Gemm() {
  if (cudaSetDevice(device_.id()) == cudaSuccess) lt_.destroy(handle_);
}

Gemm::Algorithm Gemm::choose(const GemmCall& call, const Descriptors& descriptors) const {
  const std::array<std::uint32_t, 3> alignments{alignment(call.weight), alignment(call.x), alignment(call.y)};
  const Key key{call.rows,
                call.in,
                call.out,
                call.y_stride,
                call.fp8(),
                call.accumulate,
                call.bias != nullptr,
                static_cast<std::int64_t>(call.y_dtype),
                alignments[0],
                alignments[1],
                alignments[2]};
  const std::lock_guard lock(mutex_);
  const auto known = chosen_.find(key);
  if (known != chosen_.end()) return known->second;

  cublasLtMatmulPreference_t preference = nullptr;
  lt_.check(lt_.preference_create(&preference), "gemm");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    return lt_.preference_set(preference, attribute, &value, sizeof(value));
  };
  cublasStatus_t status = set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  if (status == CUBLAS_STATUS_SUCCESS) status = set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignments[0]);
  if (status == CUBLAS_STATUS_SUCCESS) status = set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignments[1]);
  if (status == CUBLAS_STATUS_SUCCESS) status = set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignments[2]);
  if (status == CUBLAS_STATUS_SUCCESS) status = set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignments[2]);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = lt_.heuristic(handle_, descriptors.operation, descriptors.a, descriptors.b, descriptors.d, descriptors.d,
                           preference, 1, &result, &found);
  }
  lt_.preference_destroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
    throw RuntimeError("[gemm] cuBLASLt must know the product of " + std::to_string(call.rows) + " x " +
                       std::to_string(call.in) + " by " + std::to_string(call.in) + " x " + std::to_string(call.out) +
                       (call.fp8() ? " in fp8" : " in bf16") + " but got " +
                       (found == 0 && status == CUBLAS_STATUS_SUCCESS ? "no algorithm" : lt_.status_string(status)) +
                       " (cuBLASLt " + std::to_string(lt_.version()) + ")");
  }
  const Algorithm algorithm{result.algo, static_cast<std::int64_t>(result.workspaceSize)};
  chosen_.emplace(key, algorithm);
  return algorithm;
}

void Gemm::run(const GemmCall& call) const {
  if (call.rows == 0 || call.out == 0) return;
  device_.use();
  const Descriptors descriptors(lt_, call);
  const Algorithm chosen = choose(call, descriptors);
  DeviceMemory workspace;
  if (chosen.workspace_bytes > 0) workspace = device_.allocate(chosen.workspace_bytes);
  const float alpha = 1.0F;
  const float beta = call.accumulate ? 1.0F : 0.0F;
  lt_.check(lt_.matmul(handle_, descriptors.operation, &alpha, call.weight, descriptors.a, call.x, descriptors.b, &beta,
                       call.y, descriptors.d, call.y, descriptors.d, &chosen.algorithm, workspace.get(),
                       static_cast<std::size_t>(chosen.workspace_bytes), stream()),
            "gemm");
}

}  // namespace longrope::kernels::cuda
