// Causal attention on Hopper: one warpgroup copies tiles of K and V into a ring in shared memory, two or three
// warpgroups of 64 query rows each multiply (wgmma) and keep the softmax in registers. The design is FlashAttention-3's
// (Shah et al. 2024, arXiv 2407.08608): the scores of the next key tile are computed while the softmax of this one
// runs, where registers allow, and warpgroups take turns at the tensor cores.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_hopper_consumer.cuh"
#include "kernels/cuda/attention_hopper_producer.cuh"

namespace longrope::kernels::cuda::hopper {

/// Block: Config::kThreads threads, Config::kSharedBytes of dynamic shared memory. Any grid size up to the number of
/// tiles: blocks share them all. Empty unless compiled for sm_90a; then alone it has static shared memory, which is how
/// the host tells.
template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    attention_hopper_kernel(const __grid_constant__ AttentionArguments arguments) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ std::uint8_t dynamic_shared[];
  __shared__ AttentionBarriers<Config::kStages> barriers;
  const SharedTiles<Config> shared{(shared_address(dynamic_shared) + kSwizzleAtomBytes - 1) / kSwizzleAtomBytes *
                                   kSwizzleAtomBytes};
  if (threadIdx.x == 0) init_barriers<Config>(barriers);
  __syncthreads();

  const int warpgroup = __shfl_sync(0xFFFFFFFFU, static_cast<int>(threadIdx.x / 128), 0);  // uniform, and known to be
  if (warpgroup == 0) {
    registers_shrink<Config::kProducerRegisters>();
    if (threadIdx.x == 0) produce<Config, Bf16Copies<Config>>(arguments, barriers, shared);
  } else {
    registers_grow<Config::kConsumerRegisters>();
    consume<Config>(arguments, barriers, shared, warpgroup - 1);
  }
#endif
}

}  // namespace longrope::kernels::cuda::hopper
