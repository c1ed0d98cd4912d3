// kernel_check: every operation of the CUDA backend against double precision on the host, on this machine's device.
// kernel_check [--only SUBSTRING] [--seed N]; exit code 0: all passed, 1: something failed, 2: wrong usage, 77: no
// device, nothing checked.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <random>

#include "kernels/backend.hpp"
#include "kernels/check/harness.hpp"

int main(int argc, char** argv) {
  using namespace longrope::kernels;
  std::string only;
  std::uint64_t seed = std::random_device()();
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else if (std::strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else {
      std::fprintf(stderr, "usage: kernel_check [--only SUBSTRING] [--seed N]\n");
      return 2;
    }
  }
  if (cuda_device_count() == 0) {
    std::printf("no CUDA device on this machine: nothing was checked\n");
    return 77;
  }
  try {
    const DeviceInfo device = cuda_device_info(0);
    std::printf("%s, seed %llu\n", device.name.c_str(), static_cast<unsigned long long>(seed));
    check::Harness harness(only, seed);
    bool lost = false;
    try {
      check::check_elementwise(harness);
      check::check_linear(harness);
      check::check_rows(harness);
      check::check_rotation(harness);
      check::check_attention(harness);
      check::check_attention_fp8(harness);
      check::check_nll(harness);
      check::check_argmax(harness);
      check::check_whole(harness);
      check::check_memory(harness);
    } catch (const check::DeviceLost& error) {
      std::printf("STOP  %s\n", error.what());
      lost = true;
    }
    return harness.finish() == 0 && !lost ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
