// Builds the operation graph of attention_plan.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/cudnn/attention_plan.hpp"

namespace longrope::kernels::cuda {

/// Names of the tensors a run supplies.
enum CudnnAttentionUid : std::int64_t { kUidQ = 1, kUidK = 2, kUidV = 3, kUidOut = 4, kUidFirstScalar = 5 };

/// A scalar the graph reads from host memory when it runs: float32 or int32.
struct CudnnScalar {
  std::int64_t uid = 0;
  std::array<unsigned char, 4> bytes{};
};

/// A finalised operation graph with the descriptors it refers to and its scalars.
struct CudnnAttentionGraph {
  std::vector<CudnnDescriptor> descriptors;  ///< the last one is the operation graph
  std::vector<CudnnScalar> scalars;
  std::vector<std::int64_t> internal_uids;  ///< of the tensors between the operations: they have no memory

  const CudnnDescriptor& operation_graph() const { return descriptors.back(); }
};

/// Throws RuntimeError with cuDNN's words when it refuses a tensor, an operation or the graph.
CudnnAttentionGraph build_cudnn_attention_graph(const CudnnApi& api, const CudnnTarget& target,
                                                const CudnnAttentionShape& shape);

}  // namespace longrope::kernels::cuda
