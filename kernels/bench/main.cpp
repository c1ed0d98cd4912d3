// kernel_bench: rates of the CUDA backend's operations on this machine's device, random data, CUDA events, medians.
// kernel_bench [--only SUBSTRING] [--json FILE]; exit code 0: all measured, 1: something failed, 2: wrong usage, 77: no
// device.
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>

#include "kernels/bench/bench.hpp"

int main(int argc, char** argv) {
  using namespace longrope::kernels;
  std::string only;
  std::string json;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(stderr, "usage: kernel_bench [--only SUBSTRING] [--json FILE]\n");
      return 2;
    }
  }
  if (cuda_device_count() == 0) {
    std::printf("no CUDA device on this machine: nothing was measured\n");
    return 77;
  }
  try {
    const DeviceInfo device = cuda_device_info(0);
    std::printf("%s, %.1f of %.1f GB free\n", device.name.c_str(), static_cast<double>(device.free_bytes) / 1e9,
                static_cast<double>(device.total_bytes) / 1e9);
    bench::Table table(only, json);
    bench::Anchors anchors;
    const std::array parts{std::function([&] { bench::bench_gemm(table, anchors); }),
                           std::function([&] { bench::bench_memory(table, anchors); }),
                           std::function([&] { bench::bench_nll(table, anchors); }),
                           std::function([&] { bench::bench_attention(table, anchors); })};
    bool lost = false;
    try {
      for (const auto& part : parts) table.attempt("the rest of a part", part);
      std::printf("device memory: at most %.1f GB taken at once\n",
                  static_cast<double>(bench::most_pool_bytes()) / 1e9);
    } catch (const bench::DeviceLost& error) {
      std::printf("STOP  %s\n", error.what());
      lost = true;
    }
    table.write_json(device.name);
    return lost || table.failed() ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
