#include "kernels/cudnn/attention_trial.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/check.hpp"

namespace longrope::kernels::cuda {

namespace {

constexpr const char* kWhere = "attention";
// More than a tile of either, and multiples of none.
constexpr std::int64_t kRows = 150;
constexpr std::int64_t kKeys = 300;
constexpr std::int64_t kWindow = 100;
// The weights and the output are rounded to bf16, 2^-9 each at most; a wrong mask or head is off by far more.
constexpr double kTolerance = 2e-2;

using Bits = std::vector<std::uint16_t>;

float from_bf16(std::uint16_t bits) {
  const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
  float value = 0.0F;
  std::memcpy(&value, &word, sizeof(value));
  return value;
}

Bits random_bits(std::mt19937& random, std::int64_t count, float deviation) {
  std::normal_distribution<float> normal(0.0F, deviation);
  Bits bits(static_cast<std::size_t>(count));
  for (std::uint16_t& element : bits) {
    const float value = normal(random);
    std::uint32_t word = 0;
    std::memcpy(&word, &value, sizeof(word));
    element = static_cast<std::uint16_t>(word >> 16);
  }
  return bits;
}

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), kWhere); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class DeviceBits {
 public:
  explicit DeviceBits(const Bits& host) : size_(host.size()) {
    check(cudaMalloc(&memory_, bytes()), kWhere);
    check(cudaMemcpy(memory_, host.data(), bytes(), cudaMemcpyHostToDevice), kWhere);
  }
  ~DeviceBits() { cudaFree(memory_); }
  DeviceBits(const DeviceBits&) = delete;
  DeviceBits& operator=(const DeviceBits&) = delete;

  void* get() const { return memory_; }
  Bits read() const {
    Bits host(size_);
    check(cudaMemcpy(host.data(), memory_, bytes(), cudaMemcpyDeviceToHost), kWhere);
    return host;
  }

 private:
  std::size_t bytes() const { return size_ * sizeof(std::uint16_t); }

  std::size_t size_;
  void* memory_ = nullptr;
};

// ||out - expected|| / ||expected||; NaN if either is.
double relative_difference(const Bits& out, const Bits& expected) {
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double want = from_bf16(expected[i]);
    difference += (from_bf16(out[i]) - want) * (from_bf16(out[i]) - want);
    norm += want * want;
  }
  return std::sqrt(difference / norm);
}

}  // namespace

std::string cudnn_attention_trial(const CudnnAttentionFamily& family,
                                  const std::function<void(const AttentionProblem&, cudaStream_t)>& run) {
  AttentionProblem problem;
  problem.heads = family.heads;
  problem.kv_heads = family.kv_heads;
  problem.head_dim = family.head_dim;
  problem.rows = family.one_row ? 1 : kRows;
  problem.first_position = kKeys - problem.rows;
  problem.sliding_window = family.windowed ? kWindow : 0;

  std::mt19937 random(0);
  const std::int64_t out_elements = problem.rows * family.heads * family.head_dim;
  const std::int64_t key_elements = kKeys * family.kv_heads * family.head_dim;
  const DeviceBits q(random_bits(random, out_elements, 1.0F / std::sqrt(static_cast<float>(family.head_dim))));
  const DeviceBits k(random_bits(random, key_elements, 1.0F));
  const DeviceBits v(random_bits(random, key_elements, 1.0F));
  const DeviceBits out(Bits(static_cast<std::size_t>(out_elements), 0xFFFF));  // NaN
  const DeviceBits expected(Bits(static_cast<std::size_t>(out_elements), 0xFFFF));
  problem.q = q.get();
  problem.k = k.get();
  problem.v = v.get();

  const Stream stream;
  problem.out = expected.get();
  attention_plain(problem, stream.get());
  problem.out = out.get();
  run(problem, stream.get());
  check(cudaStreamSynchronize(stream.get()), kWhere);
  const double difference = relative_difference(out.read(), expected.read());
  if (difference <= kTolerance) return {};
  return "cuDNN's attention must agree with the plain kernel within " + std::to_string(kTolerance) +
         " but got a relative difference of " + std::to_string(difference);
}

}  // namespace longrope::kernels::cuda
