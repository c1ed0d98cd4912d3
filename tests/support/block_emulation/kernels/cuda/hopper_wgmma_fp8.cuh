// Found before kernels/cuda/hopper_wgmma_fp8.cuh by tests that run device code on the host: e4m3 products, emulated.
#pragma once

#include <cstdint>

#include "kernels/cuda/hopper.cuh"

namespace longrope::kernels::cuda::hopper {

template <int kN>
struct WgmmaFp8 {
  static_assert(kN == 64 || kN == 128);
  static void ss(float (&d)[kN / 2], std::uint64_t a_descriptor, std::uint64_t b_descriptor, int accumulate) {
    Machine::running().products.issue(Block::running().thread(),
                                      {.element = block_emulation::hopper::Element::e4m3,
                                       .columns = kN,
                                       .a_shared = true,
                                       .a = a_descriptor,
                                       .b = b_descriptor,
                                       .accumulate = accumulate != 0},
                                      d, nullptr);
  }
  static void rs(float (&d)[kN / 2], const std::uint32_t* a, std::uint64_t b_descriptor, int accumulate) {
    Machine::running().products.issue(Block::running().thread(),
                                      {.element = block_emulation::hopper::Element::e4m3,
                                       .columns = kN,
                                       .b = b_descriptor,
                                       .accumulate = accumulate != 0},
                                      d, a);
  }
};

}  // namespace longrope::kernels::cuda::hopper
