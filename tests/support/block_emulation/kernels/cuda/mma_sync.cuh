// Found before kernels/cuda/mma_sync.cuh by tests that run device code on the host: the same functions, computed from
// the fragment layouts that the PTX ISA gives in "Warp Level Matrix Instructions" for ldmatrix and mma.m16n8k16.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tests/support/block_emulation/device_functions.hpp"

namespace longrope::kernels::cuda {

inline int this_thread() { return static_cast<int>(threadIdx.x); }
inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(static_cast<const unsigned char*>(pointer) - shared_memory);
}

inline void cp_async_16(std::uint32_t shared, const void* global, bool inside) {
  Block::running().start_copy(shared, inside ? global : nullptr);
}
inline void cp_async_commit() { Block::running().close_copies(); }
template <int kPending>
inline void cp_async_wait() {
  Block::running().wait_copies(kPending);
}

// Matrix i has its rows at the addresses of lanes 8 i to 8 i + 7; lane l gets elements 2 (l % 4) and + 1 of row l / 4,
// or of column l / 4 when transposed.
template <bool kTransposed>
inline void ldmatrix(std::uint32_t (&r)[4], std::uint32_t shared) {
  const Results results = Block::running().meet_warp({shared}, [](const auto& in, auto& out) {
    const auto element = [&](std::uint32_t matrix, std::uint32_t row, std::uint32_t column) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, shared_memory + in[matrix * 8 + row][0] + column * 2, 2);
      return std::uint32_t{bits};
    };
    for (std::uint32_t lane = 0; lane < 32; ++lane) {
      const std::uint32_t a = lane / 4;
      const std::uint32_t b = lane % 4 * 2;
      for (std::uint32_t i = 0; i < 4; ++i) {
        out[lane][i] = kTransposed ? element(i, b, a) | element(i, b + 1, a) << 16U
                                   : element(i, a, b) | element(i, a, b + 1) << 16U;
      }
    }
  });
  for (int i = 0; i < 4; ++i) r[i] = results[i];
}
inline void ldmatrix_x4(std::uint32_t (&r)[4], std::uint32_t shared) { ldmatrix<false>(r, shared); }
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], std::uint32_t shared) { ldmatrix<true>(r, shared); }

inline void mma_bf16_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  Arguments arguments{a[0], a[1], a[2], a[3], b0, b1};
  for (int e = 0; e < 4; ++e) arguments[6 + e] = std::bit_cast<std::uint32_t>(c[e]);
  const Results results = Block::running().meet_warp(arguments, [](const auto& in, auto& out) {
    const auto half = [](std::uint32_t pair, int which) {
      return std::bit_cast<float>(which == 0 ? pair << 16U : pair & 0xffff0000U);
    };
    float left[16][16];
    float right[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      const int group = lane / 4;
      const int pair = lane % 4 * 2;
      for (int h = 0; h < 2; ++h) {
        for (int e = 0; e < 4; ++e) left[group + e % 2 * 8][pair + e / 2 * 8 + h] = half(in[lane][e], h);
        for (int e = 0; e < 2; ++e) right[pair + e * 8 + h][group] = half(in[lane][4 + e], h);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      for (int e = 0; e < 4; ++e) {
        float sum = std::bit_cast<float>(in[lane][6 + e]);
        for (int k = 0; k < 16; ++k) sum += left[lane / 4 + e / 2 * 8][k] * right[k][lane % 4 * 2 + e % 2];
        out[lane][e] = std::bit_cast<std::uint32_t>(sum);
      }
    }
  });
  for (int e = 0; e < 4; ++e) c[e] = std::bit_cast<float>(results[e]);
}

inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat16_raw l = __float2bfloat16(low);
  const __nv_bfloat16_raw h = __float2bfloat16(high);
  return l.x | std::uint32_t{h.x} << 16U;
}
inline float exp2_approx(float x) { return std::exp2(x); }

}  // namespace longrope::kernels::cuda
