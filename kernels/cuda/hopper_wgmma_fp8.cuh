// wgmma.mma_async, e4m3 in, float32 out: D[64, N] += A[64, 32] B[32, N], one instruction of one warpgroup; both
// operands K-major, A as a shared-memory descriptor (`ss`) or in registers (`rs`). Sums have about 14 bits
// (DeepSeek-V3, arXiv 2412.19437, section 3.3.2). Source: PTX ISA, "wgmma.mma_async".
#pragma once

#include <cstdint>

namespace longrope::kernels::cuda::hopper {

// D as in hopper_wgmma.cuh. Of A in registers, four e4m3 each, the first in the lowest byte, thread t of the warpgroup
// holds, with w = t / 32, g = t % 32 / 4, q = t % 4:
//   a[2 i + h] = A[16 w + g + 8 h][16 i + 4 q + {0, 1, 2, 3}]           (h, i in {0, 1})
//
// `accumulate` 0 sets D instead of adding to it.
#define LONGROPE_D4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LONGROPE_D16(d, i) LONGROPE_D4(d, i), LONGROPE_D4(d, i + 4), LONGROPE_D4(d, i + 8), LONGROPE_D4(d, i + 12)
#define LONGROPE_D32(d, i) LONGROPE_D16(d, i), LONGROPE_D16(d, i + 16)
#define LONGROPE_R32                                                       \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LONGROPE_R64                                                                 \
  LONGROPE_R32                                                                       \
  ", "                                                                               \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LONGROPE_WGMMA_FP8(kN, kCount, registers, ss_a, ss_b, ss_s, a0, a1, a2, a3, rs_b, rs_s, ...)                  \
  template <>                                                                                                         \
  struct WgmmaFp8<kN> {                                                                                               \
    __device__ static __forceinline__ void ss(float (&d)[kCount], std::uint64_t a_descriptor,                         \
                                              std::uint64_t b_descriptor, int accumulate) {                           \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " ss_s ", 0;\nwgmma.mma_async.sync.aligned.m64n" #kN             \
                   "k32.f32.e4m3.e4m3 {" registers "}, " ss_a ", " ss_b ", p, 1, 1;\n}"                               \
                   : __VA_ARGS__                                                                                      \
                   : "l"(a_descriptor), "l"(b_descriptor), "r"(accumulate));                                          \
    }                                                                                                                 \
    __device__ static __forceinline__ void rs(float (&d)[kCount], const std::uint32_t* a, std::uint64_t b_descriptor, \
                                              int accumulate) {                                                       \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " rs_s ", 0;\nwgmma.mma_async.sync.aligned.m64n" #kN             \
                   "k32.f32.e4m3.e4m3 {" registers "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " rs_b ", p, 1, 1;\n}"       \
                   : __VA_ARGS__                                                                                      \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_descriptor), "r"(accumulate));                 \
    }                                                                                                                 \
  };

template <int kN>
struct WgmmaFp8;

LONGROPE_WGMMA_FP8(64, 32, LONGROPE_R32, "%32", "%33", "%34", "%32", "%33", "%34", "%35", "%36", "%37",
                   LONGROPE_D32(d, 0))
LONGROPE_WGMMA_FP8(128, 64, LONGROPE_R64, "%64", "%65", "%66", "%64", "%65", "%66", "%67", "%68", "%69",
                   LONGROPE_D32(d, 0), LONGROPE_D32(d, 32))

#undef LONGROPE_WGMMA_FP8
#undef LONGROPE_R64
#undef LONGROPE_R32
#undef LONGROPE_D32
#undef LONGROPE_D16
#undef LONGROPE_D4

}  // namespace longrope::kernels::cuda::hopper
