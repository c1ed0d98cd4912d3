// The emulation of Hopper's blocks itself: e4m3 products, which no kernel verified on a device has covered, and the
// errors that it must report.
#include <cuda_fp8.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/attention_hopper_layout.hpp"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/hopper_wgmma.cuh"
#include "kernels/cuda/hopper_wgmma_fp8.cuh"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda::hopper;
using block_emulation::EmulationError;
using block_emulation::hopper::fake_tensor_map;
using longrope::kernels::cuda::__syncthreads;
using longrope::kernels::cuda::threadIdx;

namespace {

// [rows, 128] e4m3 values, a panel wide.
struct Bytes {
  std::vector<std::uint8_t> bits;
  std::vector<double> values;

  Bytes(std::mt19937& random, int rows) {
    std::normal_distribution<float> normal(0.0F, 4.0F);
    for (int i = 0; i < rows * 128; ++i) {
      bits.push_back(__nv_cvt_float_to_fp8(normal(random), __NV_SATFINITE, __NV_E4M3));
      values.push_back(__half2float(__half(__nv_cvt_fp8_to_halfraw(bits.back(), __NV_E4M3))));
    }
  }
};

constexpr int kRows = 64;

// sums[64, kColumns] = A B^T over 128 values, by one warpgroup: A from shared memory, or from registers filled here.
template <int kColumns>
std::vector<float> e4m3_product(const Bytes& a, const Bytes& b, bool a_in_registers) {
  std::vector<float> result(static_cast<std::size_t>(kRows * kColumns));
  const CUtensorMap a_map = fake_tensor_map(a.bits.data(), {128, 1, kRows}, {128, 1, kRows}, 1);
  const CUtensorMap b_map = fake_tensor_map(b.bits.data(), {128, 1, kColumns}, {128, 1, kColumns}, 1);
  std::uint64_t full = 0;
  block_emulation::hopper::run({.threads = 128, .dynamic_bytes = 1024 + panel_bytes(kRows + kColumns)}, [&] {
    const std::uint32_t a_tile = (shared_address(dynamic_shared) + 1023) / 1024 * 1024;
    const std::uint32_t b_tile = a_tile + panel_bytes(kRows);
    const int t = static_cast<int>(threadIdx.x);
    if (t == 0) {
      barrier_init(full, 1);
      fence_barrier_init();
      barrier_arrive_expect(full, panel_bytes(kRows + kColumns));
      copy_box(a_tile, a_map, full, 0, 0, 0);
      copy_box(b_tile, b_map, full, 0, 0, 0);
    }
    __syncthreads();
    barrier_wait(full, 0);
    float sums[kColumns / 2];
    const int row = t / 32 * 16 + t % 32 / 4;
    std::uint32_t registers[4][4];
    for (int step = 0; step < 4; ++step) {
      for (int r = 0; r < 4; ++r) {  // register r: rows 8 further where odd, columns 16 further from 2 on
        std::memcpy(&registers[step][r], &a.bits[(row + r % 2 * 8) * 128 + 32 * step + r / 2 * 16 + t % 4 * 4], 4);
      }
    }
    wgmma_fence();
    for (int step = 0; step < 4; ++step) {
      const std::uint64_t b_step = row_descriptor(b_tile) + row_step(step, kColumns);
      if (a_in_registers) {
        WgmmaFp8<kColumns>::rs(sums, registers[step], b_step, step);
      } else {
        WgmmaFp8<kColumns>::ss(sums, row_descriptor(a_tile) + row_step(step, kRows), b_step, step);
      }
    }
    wgmma_commit();
    wgmma_wait<0>();
    for (int i = 0; i < kColumns / 2; ++i) {
      result[(row + i / 2 % 2 * 8) * kColumns + i / 4 * 8 + t % 4 * 2 + i % 2] = sums[i];
    }
  });
  return result;
}

template <int kColumns>
void check_e4m3(bool a_in_registers) {
  std::mt19937 random(kColumns);
  const Bytes a(random, kRows);
  const Bytes b(random, kColumns);
  const std::vector<float> got = e4m3_product<kColumns>(a, b, a_in_registers);
  double worst = 0;
  double largest = 0;
  for (int m = 0; m < kRows; ++m) {
    for (int n = 0; n < kColumns; ++n) {
      double want = 0;
      double size = 0;  // largest partial sum or product there can be
      for (int k = 0; k < 128; ++k) {
        const double product = a.values[m * 128 + k] * b.values[n * 128 + k];
        want += product;
        size += std::abs(product);
      }
      worst = std::max(worst, std::abs(got[m * kColumns + n] - want) / size);
      largest = std::max(largest, std::abs(want));
    }
  }
  CAPTURE(a_in_registers, kColumns);
  CHECK(largest > 100);
  CHECK(worst < std::ldexp(33.0, -13) / 4);  // 33 terms, each cut by at most 2^-13 of the largest: far from all so
  CHECK(worst > std::ldexp(1.0, -20));       // the tensor core's sums are no float32 sums
}

// The message of the error that `body` ends in, run by `threads` threads.
template <class Body>
std::string error_of(int threads, const Body& body) {
  try {
    block_emulation::hopper::run({.threads = threads, .dynamic_bytes = 64 * 1024}, body);
  } catch (const EmulationError& error) {
    return error.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("emulated e4m3 products", "[cuda][hopper]") {
  for (const bool a_in_registers : {false, true}) {
    check_e4m3<64>(a_in_registers);
    check_e4m3<128>(a_in_registers);
  }
}

TEST_CASE("emulated e4m3 products lose what is far below their largest", "[cuda][hopper]") {
  std::mt19937 random(1);
  Bytes a(random, kRows);
  Bytes b(random, 64);
  const auto fill = [](Bytes& matrix, auto&& value) {
    for (std::size_t i = 0; i < matrix.bits.size(); ++i) {
      matrix.bits[i] = __nv_cvt_float_to_fp8(value(i % 128), __NV_SATFINITE, __NV_E4M3);
    }
  };
  // 2^16 and 127 products of 3.5: 13 fractional bits of 2^16 end at 8. Of 14 they keep 8, in whichever instruction.
  fill(a, [](std::size_t k) { return k == 0 ? 256.0F : 1.75F; });
  fill(b, [](std::size_t k) { return k == 0 ? 256.0F : 2.0F; });
  CHECK(e4m3_product<64>(a, b, false)[5] == 65536.0F);
  fill(b, [](std::size_t k) { return k == 0 ? 256.0F : 8.0F; });
  CHECK(e4m3_product<64>(a, b, false)[5] == 65536.0F + 31 * 8 + 96 * 8);
  // In one instruction 31 ones and 2^-13, which is kept beside them but not in their sum: its bits end at 2^-9.
  fill(a, [](std::size_t k) { return k < 96 ? 0.0F : k == 96 ? 0x1p-6F : 1.0F; });
  fill(b, [](std::size_t k) { return k == 96 ? 0x1p-7F : 1.0F; });
  CHECK(e4m3_product<64>(a, b, false)[5] == 31.0F);
}

TEST_CASE("the emulation reports waits that never end", "[cuda][hopper]") {
  std::uint64_t barrier = 0;
  const std::string message = error_of(64, [&] {
    if (threadIdx.x == 0) {
      barrier_init(barrier, 3);
      barrier_arrive(barrier);
      fence_barrier_init();
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      barrier_wait(barrier, 0);
    } else {
      named_barrier_sync(1, 64);
    }
  });
  CAPTURE(message);
  CHECK(contains(message, "deadlock"));
  CHECK(contains(message, "mbarrier 0"));
  CHECK(contains(message, "2 of 3 arrivals"));
  CHECK(contains(message, "named barrier 1 (32 of 64 threads"));
}

TEST_CASE("the emulation reports what runs into each other in shared memory", "[cuda][hopper]") {
  std::mt19937 random(1);
  const Bytes rows(random, 64);
  const CUtensorMap map = fake_tensor_map(rows.bits.data(), {128, 1, 64}, {128, 1, 64}, 1);
  std::uint64_t barrier = 0;
  // Step by step: a copy, its wait or none, a product, its wait or none, the copy again.
  const auto run = [&](bool await_copy, bool await_product) {
    return error_of(128, [&] {
      const std::uint32_t tile = 2048;
      const auto copy = [&] {
        if (threadIdx.x != 0) return;
        barrier_arrive_expect(barrier, panel_bytes(64));
        copy_box(tile, map, barrier, 0, 0, 0);
      };
      if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        fence_barrier_init();
      }
      __syncthreads();
      copy();
      if (await_copy) barrier_wait(barrier, 0);
      __syncthreads();
      float sums[32];
      wgmma_fence();
      WgmmaFp8<64>::ss(sums, row_descriptor(tile), row_descriptor(tile), 0);
      wgmma_commit();
      if (await_product) wgmma_wait<0>();
      __syncthreads();
      copy();
      wgmma_wait<0>();
      barrier_wait(barrier, 1);
    });
  };
  CHECK(run(true, true) == "no error");
  CHECK(contains(run(false, true), "a wgmma reads what a copy still fills"));
  CHECK(contains(run(true, false), "a copy fills what a wgmma still reads"));
}

TEST_CASE("the emulation reports misused accumulators", "[cuda][hopper]") {
  const auto run = [](bool fence, bool touch, bool wait) {
    return error_of(128, [&] {
      float sums[32];
      if (fence) wgmma_fence();
      WgmmaFp8<64>::ss(sums, row_descriptor(2048), row_descriptor(2048), 0);
      wgmma_commit();
      if (touch) sums[3] = 0;
      if (wait) wgmma_wait<0>();
    });
  };
  CHECK(run(true, false, true) == "no error");
  CHECK(contains(run(false, false, true), "without wgmma_fence"));
  CHECK(contains(run(true, true, true), "an accumulator changed"));
  CHECK(contains(run(true, false, false), "ended before its wgmmas"));
}
