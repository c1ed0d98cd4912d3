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

void Table::skip(const std::string& name, const std::string& why) const {
  std::printf("%-58s %s\n", name.c_str(), why.c_str());
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
  constexpr double kEnoughSeconds = 1.5;
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
  const double once = time(1);
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
  const std::vector<std::uint16_t> values = random_bf16(rows * cols, deviation);
  backend.finish();
  if (dtype == DType::bf16) {
    cuda::check(cudaMemcpy(memory_.get(), values.data(), values.size() * sizeof(std::uint16_t), cudaMemcpyHostToDevice),
                "random");
    return;
  }
  std::vector<float> floats(values.size());
  convert_to_float(values.data(), DType::bf16, 0, rows * cols, floats.data());
  cuda::check(cudaMemcpy(memory_.get(), floats.data(), floats.size() * sizeof(float), cudaMemcpyHostToDevice),
              "random");
}

}  // namespace longrope::kernels::bench
