#include "kernels/bench/bench.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <random>

#include "kernels/convert.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/error.hpp"

namespace longrope::kernels::bench {

void Table::add(const std::string& name, double seconds, double work, const char* unit, double unit_size, double anchor,
                const char* anchor_name) {
  const double rate = work / seconds;
  rows_.push_back({name, unit, seconds, rate / unit_size});
  std::printf("%-58s %10.3f ms %9.1f %s", name.c_str(), seconds * 1e3, rate / unit_size, unit);
  if (anchor > 0.0) std::printf("  %5.1f%% of %s", 100.0 * rate / anchor, anchor_name);
  std::printf("\n");
  std::fflush(stdout);
}

void Table::attempt(const std::string& name, const std::function<void()>& measure) {
  try {
    measure();
  } catch (const DeviceLost&) {
    throw;
  } catch (const std::exception& error) {
    failed_ = true;
    skip(name, std::string("FAILED: ") + error.what());
  }
  if (const cudaError_t status = cudaDeviceSynchronize(); status != cudaSuccess) {
    throw DeviceLost(std::string("the context is lost since that line (") + cudaGetErrorName(status) +
                     "): the lines after it were not measured; --only measures them one by one");
  }
}

void Table::skip(const std::string& name, const std::string& why) const {
  std::printf("%-58s %s\n", name.c_str(), why.c_str());
  std::fflush(stdout);
}

void Table::write_json(const std::string& device) const {
  if (json_.empty()) return;
  std::ofstream file(json_);
  file << "{\"device\": \"" << device << "\", \"rows\": [";
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const Row& row = rows_[i];
    file << (i == 0 ? "\n" : ",\n") << "  {\"name\": \"" << row.name << "\", \"seconds\": " << row.seconds
         << ", \"rate\": " << row.rate << ", \"unit\": \"" << row.unit << "\"}";
  }
  file << "\n]}\n";
  file.close();
  if (!file) throw RuntimeError("[json] the file must be writable but got an error writing " + json_);
}

namespace {

class Event {
 public:
  Event() { cuda::check(cudaEventCreate(&event_), "event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record() const { cuda::check(cudaEventRecord(event_, cuda::stream()), "event"); }
  double seconds_since(const Event& start) const {
    float milliseconds = 0.0F;
    cuda::check(cudaEventSynchronize(event_), "event");
    cuda::check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "event");
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

double median_seconds(const std::function<void()>& enqueue, int repeats) {
  constexpr double kWarmSeconds = 0.15;
  constexpr double kEnoughSeconds = 1.0;
  constexpr double kBatchSeconds = 0.01;  // long enough that the gap before the first launch does not count
  const Event start;
  const Event stop;
  const auto time = [&](int batch) {
    start.record();
    for (int i = 0; i < batch; ++i) enqueue();
    stop.record();
    return stop.seconds_since(start) / batch;
  };
  enqueue();
  double once = time(1);
  for (double warm = once; warm < kWarmSeconds; warm += once) once = time(1);
  const int batch = std::clamp(static_cast<int>(kBatchSeconds / once), 1, 100);
  std::vector<double> times;
  double total = 0.0;
  for (int i = 0; i < repeats && (i < 3 || total < kEnoughSeconds); ++i) {
    times.push_back(time(batch));
    total += times.back() * batch;
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

std::int64_t most_pool_bytes() {
  cudaMemPool_t pool = nullptr;
  std::uint64_t bytes = 0;
  cuda::check(cudaDeviceGetDefaultMemPool(&pool, 0), "bench");
  cuda::check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &bytes), "bench");
  return static_cast<std::int64_t>(bytes);
}

std::vector<std::uint16_t> random_bf16(std::int64_t count, double deviation) {
  std::mt19937_64 generator(7);
  std::normal_distribution<float> normal(0.0F, static_cast<float>(deviation));
  std::array<std::uint16_t, 65536> draws;
  for (auto& draw : draws) draw = bf16_from_float(normal(generator));
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  std::uint64_t state = 88172645463325252ULL;
  for (auto& value : values) {  // xorshift64 picks among the draws
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    value = draws[state & 0xFFFFU];
  }
  return values;
}

Random::Random(const Backend& backend, std::int64_t rows, std::int64_t cols, DType dtype, double deviation)
    : memory_(backend.allocate(rows * cols * bytes_of(dtype))), matrix_{memory_.get(), dtype, rows, cols} {
  const std::int64_t count = std::min(rows * cols, std::int64_t{1} << 22);
  const std::vector<std::uint16_t> values = random_bf16(count, deviation);
  std::vector<float> floats;
  const void* source = values.data();
  if (dtype == DType::f32) {
    floats.resize(values.size());
    convert_to_float(values.data(), DType::bf16, 0, count, floats.data());
    source = floats.data();
  }
  const std::int64_t bytes = rows * cols * bytes_of(dtype);
  auto* memory = static_cast<char*>(memory_.get());
  backend.finish();
  std::int64_t filled = count * bytes_of(dtype);
  cuda::check(cudaMemcpy(memory, source, static_cast<std::size_t>(filled), cudaMemcpyHostToDevice), "random");
  for (; filled < bytes; filled *= 2) {
    const auto more = static_cast<std::size_t>(std::min(filled, bytes - filled));
    cuda::check(cudaMemcpy(memory + filled, memory, more, cudaMemcpyDeviceToDevice), "random");
  }
  cuda::check(cudaDeviceSynchronize(), "random");  // copies on the device do not wait
}

}  // namespace longrope::kernels::bench
