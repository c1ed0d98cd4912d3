// wgmma.mma_async, bf16 in, float32 out: D[64, N] += A[64, 16] B[16, N], one instruction of one warpgroup.
// A and B as shared-memory descriptors (`ss`), or A in registers (`rs`). Source: PTX ISA, "wgmma.mma_async".
#pragma once

#include <cstdint>

namespace longrope::kernels::cuda::hopper {

// Thread t of the warpgroup holds of D, with w = t / 32, g = t % 32 / 4, q = t % 4:
//   d[4 j + 2 h + c] = D[16 w + g + 8 h][8 j + 2 q + c]          (h, c in {0, 1})
// and of A in registers, as bf16 pairs:
//   a[2 i + h] = A[16 w + g + 8 h][8 i + 2 q + {0, 1}]           (h, i in {0, 1})
// so that the D of one product, rounded and packed, is the A of the next without moving data between threads.
//
// ss: A and B both K-major (rows of K elements). rs: B is N-major (transposed: rows of N elements, one per k).
// `accumulate` false sets D instead of adding to it.
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
#define LONGROPE_R128                                                                \
  LONGROPE_R64                                                                       \
  ", "                                                                               \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, " \
  "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, "   \
  "%123, %124, %125, %126, %127"
#define LONGROPE_WGMMA_SS(kN, kCount, registers, a, b, s, ...)                                            \
  template <>                                                                                             \
  struct Wgmma<kN> : WgmmaRs<kN> {                                                                        \
    __device__ static __forceinline__ void ss(float (&d)[kCount], std::uint64_t a_descriptor,             \
                                              std::uint64_t b_descriptor, int accumulate) {               \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " s                                                  \
                   ", 0;\n"                                                                               \
                   "wgmma.mma_async.sync.aligned.m64n" #kN "k16.f32.bf16.bf16 {" registers "}, " a ", " b \
                   ", p, 1, 1, 0, 0;\n}"                                                                  \
                   : __VA_ARGS__                                                                          \
                   : "l"(a_descriptor), "l"(b_descriptor), "r"(accumulate));                              \
    }                                                                                                     \
  };

#define LONGROPE_WGMMA_RS(kN, kCount, registers, a0, a1, a2, a3, b, ...)                                        \
  template <>                                                                                                   \
  struct WgmmaRs<kN> {                                                                                          \
    __device__ static __forceinline__ void rs(float* d, const std::uint32_t* a, std::uint64_t b_descriptor) {   \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\nwgmma.mma_async.sync.aligned.m64n" #kN              \
                   "k16.f32.bf16.bf16 {" registers "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " b ", p, 1, 1, 1;\n}" \
                   : __VA_ARGS__                                                                                \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_descriptor));                            \
    }                                                                                                           \
  };

template <int kN>
struct WgmmaRs {};
template <int kN>
struct Wgmma;

LONGROPE_WGMMA_RS(64, 32, LONGROPE_R32, "%32", "%33", "%34", "%35", "%36", LONGROPE_D32(d, 0))
LONGROPE_WGMMA_RS(128, 64, LONGROPE_R64, "%64", "%65", "%66", "%67", "%68", LONGROPE_D32(d, 0), LONGROPE_D32(d, 32))
LONGROPE_WGMMA_SS(64, 32, LONGROPE_R32, "%32", "%33", "%34", LONGROPE_D32(d, 0))
LONGROPE_WGMMA_SS(128, 64, LONGROPE_R64, "%64", "%65", "%66", LONGROPE_D32(d, 0), LONGROPE_D32(d, 32))
LONGROPE_WGMMA_SS(256, 128, LONGROPE_R128, "%128", "%129", "%130", LONGROPE_D32(d, 0), LONGROPE_D32(d, 32),
                  LONGROPE_D32(d, 64), LONGROPE_D32(d, 96))

#undef LONGROPE_WGMMA_SS
#undef LONGROPE_WGMMA_RS
#undef LONGROPE_R128
#undef LONGROPE_R64
#undef LONGROPE_R32
#undef LONGROPE_D32
#undef LONGROPE_D16
#undef LONGROPE_D4

}  // namespace longrope::kernels::cuda::hopper
