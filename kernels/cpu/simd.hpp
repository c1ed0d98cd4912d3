// Which instruction sets the Highway kernels are compiled for. Include before any <hwy/...> header.
// x86-64: the baseline, SSE4, AVX2 and AVX-512, chosen at run time; the others gain nothing here and cost compile time.
#pragma once

#if defined(__x86_64__)
// As bits, because not every Highway version names them all: AVX3_SPR, AVX3_ZEN4, AVX3_DL, SSSE3.
#define HWY_DISABLED_TARGETS ((1LL << 4) | (1LL << 6) | (1LL << 7) | (1LL << 12))
#else
#define HWY_COMPILE_ONLY_STATIC
#endif
