// The benchmark's table, timing and random data.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/backend.hpp"
#include "kernels/cuda/device.hpp"

namespace longrope::kernels::bench {

/// The device no longer answers.
class DeviceLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Table {
 public:
  Table(std::string only, std::string json) : only_(std::move(only)), json_(std::move(json)) {}

  bool wanted(const std::string& name) const { return name.find(only_) != std::string::npos; }
  /// One line: work / seconds in units of 1e9 (GB/s, GFLOP/s) or 1e12, and its ratio to `anchor`, if that is known.
  void add(const std::string& name, double seconds, double work, const char* unit, double unit_size,
           double anchor = 0.0, const char* anchor_name = "");
  /// Runs `measure`; what it throws becomes a line. Throws DeviceLost when it left the device broken.
  void attempt(const std::string& name, const std::function<void()>& measure);
  /// Whether something that was to be measured failed.
  bool failed() const { return failed_; }
  /// A line that says why there is no figure.
  void skip(const std::string& name, const std::string& why) const;
  /// Writes the JSON file, if one was asked for. Throws RuntimeError if it cannot be written.
  void write_json(const std::string& device) const;

 private:
  struct Row {
    std::string name, unit;
    double seconds, rate;
  };
  std::string only_, json_;
  std::vector<Row> rows_;
  bool failed_ = false;
};

/// Median seconds of one `enqueue` on the calling thread's stream: a warm-up of 0.15 s, in which an idle device raises
/// its clock, then up to `repeats` batches of about 10 ms, fewer once a second is spent (but three).
double median_seconds(const std::function<void()>& enqueue, int repeats = 9);

/// The most that the device's pool held at once so far.
std::int64_t most_pool_bytes();

/// Host bf16 from N(0, deviation^2), the same for the same arguments.
std::vector<std::uint16_t> random_bf16(std::int64_t count, double deviation = 1.0);

/// Device memory of a matrix, filled with random values: four million of them, again and again.
class Random {
 public:
  Random(const Backend& backend, std::int64_t rows, std::int64_t cols, DType dtype, double deviation = 1.0);
  const Matrix& matrix() const { return matrix_; }

 private:
  DeviceMemory memory_;
  Matrix matrix_;
};

/// Product rate of an 8192^3 bf16 matrix in FLOP/s, what the other rates are compared with; 0 before it was measured.
struct Anchors {
  double gemm_flops = 0.0;
  double copy_bytes = 0.0;
};

void bench_gemm(Table& table, Anchors& anchors);
void bench_memory(Table& table, Anchors& anchors);
void bench_attention(Table& table, const Anchors& anchors);
void bench_nll(Table& table, const Anchors& anchors);

}  // namespace longrope::kernels::bench
