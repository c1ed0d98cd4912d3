// The benchmark's table, timing and random data.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.hpp"
#include "kernels/cuda/device.hpp"

namespace longrope::kernels::bench {

class Table {
 public:
  Table(std::string only, std::string json) : only_(std::move(only)), json_(std::move(json)) {}

  bool wanted(const std::string& name) const { return name.find(only_) != std::string::npos; }
  /// One line: work / seconds in units of 1e9 (GB/s, GFLOP/s) or 1e12, and its ratio to `anchor`, if that is known.
  void add(const std::string& name, double seconds, double work, const char* unit, double unit_size,
           double anchor = 0.0, const char* anchor_name = "");
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
};

/// Median seconds of one `enqueue` on the calling thread's stream: a warm-up, then up to `repeats` batches of about 10
/// ms, fewer once a second and a half is spent (but three).
double median_seconds(const std::function<void()>& enqueue, int repeats = 9);

/// Host bf16 from N(0, deviation^2), the same for the same arguments.
std::vector<std::uint16_t> random_bf16(std::int64_t count, double deviation = 1.0);

/// Device memory of a matrix, filled with random values.
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
