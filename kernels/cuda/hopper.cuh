// Hopper's asynchronous machinery (sm_90a) as inline functions: mbarriers, TMA tensor copies, warpgroup registers and
// the fences of wgmma. Each is one PTX instruction, or the loop around one. Source: PTX ISA 8.0 and later, sections
// "mbarrier", "cp.async.bulk.tensor", "wgmma.mma_async" and "setmaxnreg". Only to be called where
// __CUDA_ARCH_FEAT_SM90_ALL is defined.
#pragma once

#include <cuda.h>  // CUtensorMap: types only, nothing links libcuda

#include <cstdint>
#include <type_traits>

namespace longrope::kernels::cuda::hopper {

/// Address of a shared-memory object as the 32-bit number that PTX and wgmma descriptors want.
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// ---- mbarriers: a phase ends when all arrivals are in and all announced bytes have landed.

/// One thread, once per barrier, before fence_barrier_init and a block-wide barrier.
__device__ __forceinline__ void barrier_init(std::uint64_t& barrier, std::uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals));
}

/// Makes the initialised barriers visible to the copy engine.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(std::uint64_t& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}

/// Arrives at the same barrier of another block of the cluster (or of this one).
__device__ __forceinline__ void barrier_arrive_at(std::uint64_t& barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}" ::"r"(shared_address(&barrier)),
      "r"(rank)
      : "memory");
}

/// Arrives and announces `bytes` that copies will deliver in this phase.
__device__ __forceinline__ void barrier_arrive_expect(std::uint64_t& barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
               : "memory");
}

/// Waits until the phase of this parity is over. A fresh barrier is in phase 0: waiting for parity 1 returns at once.
__device__ __forceinline__ void barrier_wait(std::uint64_t& barrier, std::uint32_t parity) {
  const std::uint32_t address = shared_address(&barrier);
  std::uint32_t done = 0;
  do {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(done)
        : "r"(address), "r"(parity)
        : "memory");
  } while (done == 0);
}

/// Position in a ring of shared-memory stages: which stage, and the parity of the current lap.
template <int kStages>
struct RingPosition {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1U;
    }
  }
};

// ---- Named barriers (bar.sync): 128 or 256 threads of known warps.

__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- Clusters: blocks that run together and reach each other's shared memory.

__device__ __forceinline__ int cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}

/// All threads of all blocks of the cluster, converged or not.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

// ---- TMA.

__device__ __forceinline__ void prefetch_tensor_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<std::uint64_t>(&map)) : "memory");
}

/// Starts copying one box of a rank-3 tensor to shared memory; its bytes count on `barrier`. Coordinates in elements,
/// innermost first; what lies outside the tensor arrives as zeros and counts like the rest.
__device__ __forceinline__ void copy_box(std::uint32_t destination, const CUtensorMap& map, std::uint64_t& barrier,
                                         int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
          "r"(destination),
      "l"(reinterpret_cast<std::uint64_t>(&map)), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z)
      : "memory");
}

/// The same, to the same place in every block of the cluster whose bit is set in `blocks`, counting on each one's
/// barrier.
__device__ __forceinline__ void copy_box_to(std::uint16_t blocks, std::uint32_t destination, const CUtensorMap& map,
                                            std::uint64_t& barrier, int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(destination),
      "l"(reinterpret_cast<std::uint64_t>(&map)), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z), "h"(blocks)
      : "memory");
}

// ---- Warpgroups.

/// Gives registers back to the block's pool, or takes them from it. All warps of the warpgroup, in one branch.
template <int kRegisters>
__device__ __forceinline__ void registers_shrink() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void registers_grow() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// Orders register writes before the wgmmas that follow.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

/// Closes the group of wgmmas issued since the last commit.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/// Waits until at most kPending committed groups are still running.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Pins values that a running wgmma reads or writes: the compiler moves no use of them across this line.
template <typename T, int kCount>
__device__ __forceinline__ void pin(T (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      asm volatile("" : "+f"(values[i])::"memory");
    } else {
      asm volatile("" : "+r"(values[i])::"memory");
    }
  }
}

/// Keeps the wgmma_wait that follows behind the arithmetic that yields `value`, which is never -1: ptxas moves a wait
/// above arithmetic that was meant to run during the wgmma, but not above a store, and this one is never done.
__device__ __forceinline__ void settle(float value, float& scratch) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.eq.f32 p, %0, 0fBF800000;\n"
      "@p st.shared.f32 [%1], %0;\n"
      "}" ::"f"(value),
      "r"(shared_address(&scratch))
      : "memory");
}

// ---- Arithmetic.

/// 2^x to 2 ulp with subnormal results flushed; 2^-inf = 0.
__device__ __forceinline__ float exp2_approximate(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Two floats rounded to bf16, the first in the low half.
__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

}  // namespace longrope::kernels::cuda::hopper
