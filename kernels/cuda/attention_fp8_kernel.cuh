// Causal attention on Hopper in e4m3: the block of attention_hopper_kernel.cuh, with the next tile's products not
// overlapped, over what attention_fp8_quantize.cuh has quantised. As FlashAttention-3's FP8 (arXiv 2407.08608, section
// 3.3), but with K centred instead of rotated.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_fp8_consumer.cuh"
#include "kernels/cuda/attention_hopper_producer.cuh"

namespace longrope::kernels::cuda::hopper {

/// Block, grid and the code for other architectures as attention_hopper_kernel's.
template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    attention_fp8_kernel(const __grid_constant__ Fp8AttentionArguments arguments) {
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
    if (threadIdx.x == 0) produce<Config, Fp8Copies<Config>>(arguments.problem, barriers, shared);
  } else {
    registers_grow<Config::kConsumerRegisters>();
    consume_fp8<Config>(arguments, barriers, shared, warpgroup - 1);
  }
#endif
}

}  // namespace longrope::kernels::cuda::hopper
