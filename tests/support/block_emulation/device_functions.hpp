// CUDA's built-in variables and warp functions, as device code names them, for code that runs on an emulated block.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "tests/support/block_emulation/block.hpp"

// Kernels are local to a test: the program may hold their launch stubs under the same names.
#undef __global__
#define __global__ [[maybe_unused]] static
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __shared__
#define __shared__ thread_local

namespace longrope::kernels::cuda {

using block_emulation::Arguments;
using block_emulation::Block;
using block_emulation::Results;
using std::max;
using std::min;

inline auto& threadIdx = block_emulation::thread_index;
inline auto& blockIdx = block_emulation::block_index;
inline auto& gridDim = block_emulation::grid_size;

inline void __syncthreads() { Block::running().meet_block(); }
inline void __syncwarp() {
  Block::running().meet_warp({}, [](const auto&, auto&) {});
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  static_assert(sizeof(T) == 4);
  const Arguments arguments{std::bit_cast<std::uint32_t>(value), static_cast<std::uint32_t>(mask)};
  return std::bit_cast<T>(Block::running().meet_warp(arguments, [](const auto& in, auto& out) {
    for (std::uint32_t lane = 0; lane < 32; ++lane) out[lane][0] = in[lane ^ in[lane][1]][0];
  })[0]);
}
template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  static_assert(sizeof(T) == 4);
  const Arguments arguments{std::bit_cast<std::uint32_t>(value), static_cast<std::uint32_t>(source)};
  return std::bit_cast<T>(Block::running().meet_warp(arguments, [](const auto& in, auto& out) {
    for (std::uint32_t lane = 0; lane < 32; ++lane) out[lane][0] = in[in[lane][1] % 32][0];
  })[0]);
}
inline bool __any_sync(unsigned, bool value) {
  return Block::running().meet_warp({value ? 1U : 0U}, [](const auto& in, auto& out) {
    std::uint32_t any = 0;
    for (const Arguments& arguments : in) any |= arguments[0];
    for (Results& results : out) results[0] = any;
  })[0] != 0;
}
inline bool __all_sync(unsigned mask, bool value) { return !__any_sync(mask, !value); }

inline float __frcp_rn(float x) { return 1.0F / x; }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }

}  // namespace longrope::kernels::cuda
