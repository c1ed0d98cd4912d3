// Found before kernels/cuda/hopper.cuh by tests that run device code on the host: the same functions, carried out by an
// emulation of what the PTX ISA says of them (tests/support/block_emulation/hopper).
#pragma once

#include <cuda.h>

#include <cmath>
#include <cstdint>

#include "tests/support/block_emulation/device_functions.hpp"
#include "tests/support/block_emulation/hopper/machine.hpp"

#define __CUDA_ARCH_FEAT_SM90_ALL

namespace longrope::kernels::cuda::hopper {

using block_emulation::hopper::Machine;
using block_emulation::hopper::shared_address;
using block_emulation::hopper::TransactionBarriers;

inline int this_rank() { return Block::running().rank(); }

inline void barrier_init(std::uint64_t& barrier, std::uint32_t arrivals) {
  Machine::running().barriers.init(this_rank(), &barrier, arrivals);
}
inline void fence_barrier_init() { Machine::running().barriers.fence(this_rank()); }
inline void barrier_arrive_at(std::uint64_t& barrier, int rank) {
  if (Block::running().ended(rank)) {
    throw block_emulation::EmulationError("an arrival at an mbarrier of a block that has ended");
  }
  TransactionBarriers::arrive(Machine::running().barriers.at(rank, &barrier));
}
inline void barrier_arrive(std::uint64_t& barrier) { barrier_arrive_at(barrier, this_rank()); }
inline void barrier_arrive_expect(std::uint64_t& barrier, std::uint32_t bytes) {
  TransactionBarriers::arrive(Machine::running().barriers.at(this_rank(), &barrier), bytes);
}
inline void barrier_wait(std::uint64_t& barrier, std::uint32_t parity) {
  Block::running().wait_until(
      TransactionBarriers::PhaseEnd{Machine::running().barriers.at(this_rank(), &barrier), parity});
}

template <int kStages>
struct RingPosition {
  int stage = 0;
  std::uint32_t parity = 0;

  void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1U;
    }
  }
};

inline void named_barrier_sync(int id, int threads) { Machine::running().named.sync(this_rank(), id, threads); }
inline void named_barrier_arrive(int id, int threads) { Machine::running().named.arrive(this_rank(), id, threads); }

inline int cluster_rank() { return this_rank(); }
inline void cluster_sync() { Block::running().meet_cluster(); }

inline void prefetch_tensor_map(const CUtensorMap&) {}
inline void copy_box_to(std::uint16_t blocks, std::uint32_t destination, const CUtensorMap& map, std::uint64_t& barrier,
                        int x, int y, int z) {
  Machine& machine = Machine::running();
  for (int rank = 0; rank < 16; ++rank) {
    if ((blocks >> rank & 1) == 0) continue;
    machine.copies.start(rank, destination, map, machine.barriers.at(rank, &barrier), {x, y, z});
  }
}
inline void copy_box(std::uint32_t destination, const CUtensorMap& map, std::uint64_t& barrier, int x, int y, int z) {
  copy_box_to(static_cast<std::uint16_t>(1 << this_rank()), destination, map, barrier, x, y, z);
}

template <int kRegisters>
void registers_shrink() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
}
template <int kRegisters>
void registers_grow() {
  registers_shrink<kRegisters>();
}

inline void wgmma_fence() { Machine::running().products.fence(Block::running().thread()); }
inline void wgmma_commit() { Machine::running().products.commit(Block::running().thread()); }
template <int kPending>
void wgmma_wait() {
  Machine::running().products.wait(Block::running().thread(), kPending);
}
template <typename T, int kCount>
void pin(T (&)[kCount]) {}
inline void settle(float, float&) {}

inline float exp2_approximate(float x) {
  const float result = std::exp2(x);
  return std::fpclassify(result) == FP_SUBNORMAL ? 0.0F : result;
}
inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat16_raw l = __float2bfloat16(low);
  const __nv_bfloat16_raw h = __float2bfloat16(high);
  return l.x | std::uint32_t{h.x} << 16U;
}

}  // namespace longrope::kernels::cuda::hopper
