// Found before kernels/cuda/hopper_wgmma.cuh by tests that run device code on the host: bf16 products, emulated.
#pragma once

#include <cstdint>

#include "kernels/cuda/hopper.cuh"

namespace longrope::kernels::cuda::hopper {

template <int kN>
struct WgmmaRs {
  static_assert(kN == 64 || kN == 128);
  static void rs(float* d, const std::uint32_t* a, std::uint64_t b_descriptor) {
    Machine::running().products.issue(Block::running().thread(),
                                      {.columns = kN, .b = b_descriptor, .b_k_major = false, .accumulate = true}, d, a);
  }
};

template <int kN>
struct Wgmma {
  static_assert(kN == 64 || kN == 128 || kN == 256);
  static void ss(float (&d)[kN / 2], std::uint64_t a_descriptor, std::uint64_t b_descriptor, int accumulate) {
    Machine::running().products.issue(
        Block::running().thread(),
        {.columns = kN, .a_shared = true, .a = a_descriptor, .b = b_descriptor, .accumulate = accumulate != 0}, d,
        nullptr);
  }
};

}  // namespace longrope::kernels::cuda::hopper
