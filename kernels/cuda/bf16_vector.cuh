// Loads and stores of V consecutive bf16 as float32: one 16-byte access for V = 8, one element for V = 1.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace longrope::kernels::cuda {

template <int V>
__device__ __forceinline__ void load_bf16(const __nv_bfloat16* address, float (&x)[V]) {
  static_assert(V == 1 || V == 8);
  if constexpr (V == 1) {
    x[0] = __bfloat162float(*address);
  } else {
    const uint4 bits = *reinterpret_cast<const uint4*>(address);
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[2 * i] = __uint_as_float(words[i] << 16);
      x[2 * i + 1] = __uint_as_float(words[i] & 0xFFFF0000U);
    }
  }
}

template <int V>
__device__ __forceinline__ void store_bf16(__nv_bfloat16* address, const float (&x)[V]) {
  static_assert(V == 1 || V == 8);
  if constexpr (V == 1) {
    *address = __float2bfloat16_rn(x[0]);
  } else {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const unsigned low = __bfloat16_as_ushort(__float2bfloat16_rn(x[2 * i]));
      const unsigned high = __bfloat16_as_ushort(__float2bfloat16_rn(x[2 * i + 1]));
      words[i] = low | (high << 16);
    }
    *reinterpret_cast<uint4*>(address) = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

/// Whether a pointer allows 16-byte accesses.
inline bool aligned16(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

}  // namespace longrope::kernels::cuda
