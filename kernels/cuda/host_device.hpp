// A function that both the host and device code call; plain C++ where no CUDA compiler is at work.
#pragma once

#ifdef __CUDACC__
#define LONGROPE_HOST_DEVICE __host__ __device__
#else
#define LONGROPE_HOST_DEVICE
#endif
