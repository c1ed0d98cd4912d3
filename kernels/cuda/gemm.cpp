#include "kernels/cuda/gemm.hpp"

#include <algorithm>
#include <optional>
#include <string>

#include "kernels/cuda/gemm_choice.hpp"
#include "kernels/cuda/gemm_probe.hpp"
#include "kernels/error.hpp"
#include "kernels/memory_format.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr int kMostAlgorithms = 16;  // of the library's ranking, to choose among

// Names of cuBLAS 12.9; their values, so that older toolkits compile this (their library then refuses the setting).
constexpr auto kScaleModeA = static_cast<cublasLtMatmulDescAttributes_t>(31);
constexpr auto kScaleModeB = static_cast<cublasLtMatmulDescAttributes_t>(32);
constexpr std::int32_t kScalePerRow = 3;  // CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F

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

Gemm::Alignments Gemm::alignments_of_rows(const GemmCall& call) {
  return {row_alignment(call.weight, 0), row_alignment(call.x, call.in * (call.fp8() ? 1 : bytes_of(DType::bf16))),
          row_alignment(call.y, call.y_stride * bytes_of(call.y_dtype))};
}

Gemm::Key Gemm::key_of(const GemmCall& call) {
  const Alignments alignments = alignments_of_rows(call);
  return {call.in,
          call.out,
          call.y_stride,
          call.fp8(),
          call.accumulate,
          call.bias != nullptr,
          static_cast<std::int64_t>(call.y_dtype),
          alignments[0],
          alignments[1],
          alignments[2]};
}

/// The library's first choices for a call; empty where it has none.
std::vector<cublasLtMatmulHeuristicResult_t> Gemm::ranking(const GemmCall& call, const Alignments& alignments,
                                                           std::uint32_t reduction_schemes, int most) const {
  const Descriptors descriptors(lt_, call);
  cublasLtMatmulPreference_t preference = nullptr;
  lt_.check(lt_.preference_create(&preference), "gemm");
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    if (status == CUBLAS_STATUS_SUCCESS) status = lt_.preference_set(preference, attribute, &value, sizeof(value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceBytes});
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reduction_schemes);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignments[0]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignments[1]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignments[2]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignments[2]);
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<std::size_t>(most));
  int found = 0;
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = lt_.heuristic(handle_, descriptors.operation, descriptors.a, descriptors.b, descriptors.d, descriptors.d,
                           preference, most, results.data(), &found);
  }
  lt_.preference_destroy(preference);
  results.resize(status == CUBLAS_STATUS_SUCCESS ? static_cast<std::size_t>(found) : 0);
  std::erase_if(results, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
  return results;
}

/// Whether the library can run the algorithm on these rows; if so, with what workspace.
bool Gemm::check(const Descriptors& descriptors, const cublasLtMatmulAlgo_t& algorithm, Algorithm& checked) const {
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status = lt_.algorithm_check(handle_, descriptors.operation, descriptors.a, descriptors.b,
                                                    descriptors.d, descriptors.d, &algorithm, &result);
  if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > kWorkspaceBytes) return false;
  checked = {algorithm, static_cast<std::int64_t>(result.workspaceSize)};
  return true;
}

/// The one algorithm of a shape, chosen at its first use; empty where the library knows none. Under the mutex.
const std::optional<cublasLtMatmulAlgo_t>& Gemm::shape_algorithm(const Key& key, const GemmCall& call) const {
  const auto known = shapes_.find(key);
  if (known != shapes_.end()) return known->second;
  GemmCall chunk = call;
  chunk.rows = kCudaChunkTokens;
  const Alignments alignments = alignments_of_rows(call);
  auto results = ranking(chunk, alignments, CUBLASLT_REDUCTION_SCHEME_NONE, kMostAlgorithms);
  if (results.empty()) results = ranking(chunk, alignments, CUBLASLT_REDUCTION_SCHEME_MASK, kMostAlgorithms);
  std::vector<GemmCandidate> candidates;
  for (const auto& result : results) {
    GemmCandidate candidate;  // what an algorithm does not tell, its trial does
    const auto get = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto& value) {
      auto told = value;
      std::size_t written = 0;
      if (lt_.algorithm_get(&result.algo, attribute, &told, sizeof(told), &written) == CUBLAS_STATUS_SUCCESS)
        value = told;
    };
    get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, candidate.split_k);
    get(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, candidate.reduction_scheme);
    candidates.push_back(candidate);
  }
  const auto accepts = [&](std::size_t i) {
    for (const std::int64_t rows : {std::int64_t{1}, std::int64_t{77}, kCudaChunkTokens}) {
      GemmCall some = call;
      some.rows = rows;
      Algorithm unused;
      if (!check(Descriptors(lt_, some), results[i].algo, unused)) return false;
    }
    return true;
  };
  const auto agree = [&](std::size_t i) {
    return rows_agree(device_, call, [&](const GemmCall& part) {
      const Descriptors descriptors(lt_, part);
      Algorithm checked;
      return check(descriptors, results[i].algo, checked) &&
             enqueue(part, descriptors, checked) == CUBLAS_STATUS_SUCCESS;
    });
  };
  const std::optional<GemmChoice> choice = choose_gemm(candidates, accepts, agree);
  std::optional<cublasLtMatmulAlgo_t>& chosen = shapes_[key];
  if (!choice || !choice->rows_independent) rows_independent_ = false;
  if (choice) chosen = results[choice->index].algo;
  return chosen;
}

Gemm::Algorithm Gemm::algorithm_for(const GemmCall& call, const Descriptors& descriptors) const {
  const Key key = key_of(call);
  const std::lock_guard lock(mutex_);
  const auto known = by_rows_.find({key, call.rows});
  if (known != by_rows_.end()) return known->second;
  Algorithm chosen;
  const std::optional<cublasLtMatmulAlgo_t>& algorithm = shape_algorithm(key, call);
  if (!algorithm || !check(descriptors, *algorithm, chosen)) {  // what is best for these rows alone
    rows_independent_ = false;
    auto results = ranking(call, alignments_of_rows(call), CUBLASLT_REDUCTION_SCHEME_MASK, 1);
    const bool for_all_views = !results.empty();
    if (!for_all_views) {
      const Alignments own{row_alignment(call.weight, 0), row_alignment(call.x, 0), row_alignment(call.y, 0)};
      results = ranking(call, own, CUBLASLT_REDUCTION_SCHEME_MASK, 1);
    }
    if (results.empty()) refuse(call);
    chosen = {results.front().algo, static_cast<std::int64_t>(results.front().workspaceSize)};
    if (!for_all_views) return chosen;
  }
  by_rows_.emplace(std::pair(key, call.rows), chosen);
  return chosen;
}

void Gemm::refuse(const GemmCall& call) const {
  throw RuntimeError("[gemm] cuBLASLt must know the product of " + std::to_string(call.rows) + " x " +
                     std::to_string(call.in) + " by " + std::to_string(call.in) + " x " + std::to_string(call.out) +
                     (call.fp8() ? " in fp8" : " in bf16") + " but got no algorithm (cuBLASLt " +
                     std::to_string(lt_.version()) + ")");
}

cublasStatus_t Gemm::enqueue(const GemmCall& call, const Descriptors& descriptors, const Algorithm& chosen) const {
  DeviceMemory workspace;
  if (chosen.workspace_bytes > 0) workspace = device_.allocate(chosen.workspace_bytes);
  const float alpha = 1.0F;
  const float beta = call.accumulate ? 1.0F : 0.0F;
  return lt_.matmul(handle_, descriptors.operation, &alpha, call.weight, descriptors.a, call.x, descriptors.b, &beta,
                    call.y, descriptors.d, call.y, descriptors.d, &chosen.algorithm, workspace.get(),
                    static_cast<std::size_t>(chosen.workspace_bytes), stream());
}

void Gemm::run(const GemmCall& call) const {
  if (call.rows == 0 || call.out == 0) return;
  device_.use();
  const Descriptors descriptors(lt_, call);
  lt_.check(enqueue(call, descriptors, algorithm_for(call, descriptors)), "gemm");
}

void Gemm::prepare(const GemmCall& call) const {
  if (call.out == 0) return;
  device_.use();
  const std::lock_guard lock(mutex_);
  shape_algorithm(key_of(call), call);
}

}  // namespace longrope::kernels::cuda
