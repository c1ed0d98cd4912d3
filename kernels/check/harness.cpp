#include "kernels/check/harness.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>

namespace longrope::kernels::check {

std::mt19937_64& generator() {
  static std::mt19937_64 engine;
  return engine;
}

std::vector<float> random_values(std::int64_t n, double deviation, bool bf16) {
  std::normal_distribution<float> normal(0.0F, static_cast<float>(deviation));
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) {
    value = normal(generator());
    if (!bf16) continue;
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    bits &= 0xFFFF0000U;
    std::memcpy(&value, &bits, sizeof(bits));
  }
  return values;
}

std::vector<std::int32_t> random_ids(std::int64_t n, std::int64_t vocabulary) {
  std::uniform_int_distribution<std::int32_t> uniform(0, static_cast<std::int32_t>(vocabulary - 1));
  std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
  for (auto& id : ids) id = uniform(generator());
  return ids;
}

void Result::fail(const std::string& what) {
  if (failure_.empty()) failure_ = what;
}

void Result::note(double error, double tolerance) {
  const bool first = tolerance_ == 0.0;
  if (!first && (std::isnan(error_) || error / tolerance <= error_ / tolerance_)) return;  // a NaN stays
  error_ = error;
  tolerance_ = tolerance;
}

void Result::expect(bool holds, const std::string& what) {
  ++cases_;
  if (!holds) fail(what);
}

void Result::compare(const std::vector<double>& out, const std::vector<double>& expected, double tolerance,
                     const std::string& what) {
  ++cases_;
  if (out.size() != expected.size() || out.empty()) return fail(what + ": sizes differ");
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    difference += (out[i] - expected[i]) * (out[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  const double rms = std::sqrt(norm / static_cast<double>(out.size()));
  const double relative = std::sqrt(difference / norm);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double element = std::abs(out[i] - expected[i]) / (std::abs(expected[i]) + rms);
    if (element <= 8.0 * tolerance) continue;
    fail(what + ": element " + std::to_string(i) + " is " + std::to_string(out[i]) + ", expected " +
         std::to_string(expected[i]));
    break;
  }
  if (!(relative <= tolerance)) fail(what + ": error " + std::to_string(relative));
  note(relative, tolerance);
}

void Result::compare_absolute(const std::vector<double>& out, const std::vector<double>& expected, double tolerance,
                              const std::string& what) {
  ++cases_;
  if (out.size() != expected.size() || out.empty()) return fail(what + ": sizes differ");
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double difference = std::abs(out[i] - expected[i]);
    note(difference, tolerance);
    if (difference <= tolerance) continue;
    return fail(what + ": element " + std::to_string(i) + " is " + std::to_string(out[i]) + ", expected " +
                std::to_string(expected[i]));
  }
}

void Harness::group(const std::string& name, const std::function<void(Result&)>& body) {
  if (!wanted(name)) return;
  generator().seed(seed_ + std::hash<std::string>()(name));
  Result result;
  try {
    body(result);
  } catch (const std::exception& error) {
    result.expect(false, std::string("threw ") + error.what());
  }
  result.ok() ? ++passed_ : ++failed_;
  std::printf("%s  %-52s %4lld cases", result.ok() ? "pass" : "FAIL", name.c_str(),
              static_cast<long long>(result.cases()));
  if (result.tolerance() > 0.0) std::printf("  error %.2e (tolerance %.0e)", result.error(), result.tolerance());
  std::printf("%s%s\n", result.ok() ? "" : "\n      ", result.failure().c_str());
  std::fflush(stdout);
  if (result.ok()) return;
  if (const cudaError_t status = cudaDeviceSynchronize(); status != cudaSuccess) {
    throw DeviceLost(std::string("the context is lost since that group (") + cudaGetErrorName(status) +
                     "): the groups after it did not run; --only runs them one by one");
  }
}

void Harness::skip(const std::string& name, const std::string& why) {
  if (wanted(name)) std::printf("skip  %-52s %s\n", name.c_str(), why.c_str());
}

int Harness::finish() const {
  std::printf("%d passed, %d failed\n", passed_, failed_);
  return failed_ == 0 && passed_ > 0 ? 0 : 1;
}

}  // namespace longrope::kernels::check
