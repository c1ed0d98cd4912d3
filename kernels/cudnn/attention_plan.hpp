// One compiled cuDNN attention: the SDPA pattern written as a graph of matmuls, pointwise ops and reductions, which
// cuDNN's engines recognise and run as one fused kernel.
// The pattern (which ops, in which order, which types) is the one NVIDIA's cudnn-frontend 1.32 emits for SDPA forward:
// node/scaled_dot_product_flash_attention.h, node/diagonal_band_mask.h, node/softmax.h.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/cuda/attention_cudnn_shape.hpp"
#include "kernels/cudnn/library.hpp"

namespace longrope::kernels::cuda {

/// For whom a plan is compiled: a live handle, or (without any device) a finalised CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR.
struct CudnnTarget {
  cudnnHandle_t handle = nullptr;
  const CudnnDescriptor* device_properties = nullptr;
};

/// Device pointers of one run, laid out as in AttentionProblem.
struct CudnnAttentionPointers {
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  void* out = nullptr;
  void* workspace = nullptr;  ///< workspace_bytes() of them; may be null when that is 0
};

/// The tensors whose addresses or values a plan's kernels take, from cuDNN's own description of the plan: a JSON text
/// in whose "kernelParams" each argument that a run sets carries a "uid" (cuDNN's workspace has one of its own). Empty
/// when the text has no such part.
std::vector<std::int64_t> cudnn_kernel_uids(std::string_view plan);

/// A finalised execution plan of one shape. Move-only. Running it only enqueues work on the handle's stream.
class CudnnAttentionPlan {
 public:
  /// Builds the graph, asks cuDNN's heuristic (mode A) for engines and takes the first that compiles to kernels that
  /// need nothing but what run() supplies. Takes 0.1 to 1 s. Throws RuntimeError when the graph is refused or no engine
  /// compiles it.
  CudnnAttentionPlan(const CudnnApi& api, const CudnnTarget& target, const CudnnAttentionShape& shape);

  /// Device bytes one run needs; runs that overlap in time need a workspace each.
  std::int64_t workspace_bytes() const { return workspace_bytes_; }

  /// Precondition: `handle` belongs to the device the plan was compiled for. Throws RuntimeError.
  void run(cudnnHandle_t handle, const CudnnAttentionPointers& pointers) const;

 private:
  const CudnnApi* api_;
  std::vector<CudnnDescriptor> graph_;  // everything the plan refers to
  std::vector<CudnnDescriptor> plan_;   // one
  std::int64_t workspace_bytes_ = 0;
  std::vector<std::int64_t> scalar_uids_;
  std::vector<std::array<unsigned char, 4>> scalar_values_;  // host-side constants, passed by value at each run
};

}  // namespace longrope::kernels::cuda
