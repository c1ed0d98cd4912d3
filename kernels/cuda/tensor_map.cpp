#include "kernels/cuda/tensor_map.hpp"

#include <cuda_runtime_api.h>

#include <string>

#include "kernels/error.hpp"

namespace longrope::kernels::cuda {
namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

EncodeTiled find_encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  if (status != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  return found == cudaDriverEntryPointSuccess ? reinterpret_cast<EncodeTiled>(function) : nullptr;
}

EncodeTiled encode_tiled() {
  static const EncodeTiled function = find_encode_tiled();
  return function;
}

}  // namespace

bool tensor_maps_available() { return encode_tiled() != nullptr; }

CUtensorMap make_tensor_map(const void* base, const TensorMapShape& shape, const char* where) {
  const EncodeTiled encode = encode_tiled();
  if (encode == nullptr) {
    throw RuntimeError("[" + std::string(where) + "] the driver must know tensor maps but got one without them");
  }
  const bool bf16 = shape.element == TensorElement::bf16;
  const cuuint64_t bytes = bf16 ? 2 : 1;
  const cuuint64_t extent[3] = {static_cast<cuuint64_t>(shape.extent[0]), static_cast<cuuint64_t>(shape.extent[1]),
                                static_cast<cuuint64_t>(shape.extent[2])};
  const cuuint64_t stride[2] = {bytes * extent[0], bytes * extent[0] * extent[1]};
  const cuuint32_t box[3] = {static_cast<cuuint32_t>(shape.box[0]), static_cast<cuuint32_t>(shape.box[1]),
                             static_cast<cuuint32_t>(shape.box[2])};
  const cuuint32_t step[3] = {1, 1, 1};
  CUtensorMap map{};
  const CUresult result =
      encode(&map, bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8, 3, const_cast<void*>(base),
             extent, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw RuntimeError("[" + std::string(where) + "] the driver must make a tensor map but got CUresult " +
                       std::to_string(static_cast<int>(result)) + " (tensor " + std::to_string(extent[2]) + " x " +
                       std::to_string(extent[1]) + " x " + std::to_string(extent[0]) + ")");
  }
  return map;
}

}  // namespace longrope::kernels::cuda
