// The check program's own small harness: groups of cases, each with the largest error found in it.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace longrope::kernels::check {

/// What a group of cases found.
class Result {
 public:
  /// ||out - expected|| / ||expected||, and the largest |out - expected| / (|expected| + rms(expected)), which must
  /// stay below tolerance and 8 * tolerance. NaN fails.
  void compare(const std::vector<double>& out, const std::vector<double>& expected, double tolerance,
               const std::string& what);
  /// |out - expected| <= tolerance everywhere.
  void compare_absolute(const std::vector<double>& out, const std::vector<double>& expected, double tolerance,
                        const std::string& what);
  void expect(bool holds, const std::string& what);
  /// `call` must throw `Error`, a message holding `part`.
  template <class Error>
  void expect_throw(const std::function<void()>& call, const std::string& part, const std::string& what) {
    try {
      call();
      expect(false, what + ": nothing was thrown");
    } catch (const Error& error) {
      expect(std::string(error.what()).find(part) != std::string::npos, what + ": said " + error.what());
    } catch (const std::exception& error) {
      expect(false, what + ": threw something else: " + error.what());
    }
  }

  bool ok() const { return failure_.empty(); }
  const std::string& failure() const { return failure_; }  ///< the first one
  double error() const { return error_; }                  ///< of the comparison that came nearest to its tolerance
  double tolerance() const { return tolerance_; }          ///< of the same comparison; 0 without any
  std::int64_t cases() const { return cases_; }

 private:
  void fail(const std::string& what);
  void note(double error, double tolerance);

  std::string failure_;
  double error_ = 0.0;
  double tolerance_ = 0.0;
  std::int64_t cases_ = 0;
};

/// The device no longer answers: whatever ran next would fail for that alone.
class DeviceLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Harness {
 public:
  Harness(std::string only, std::uint64_t seed) : only_(std::move(only)), seed_(seed) {}

  /// Whether --only lets a group of this name run.
  bool wanted(const std::string& name) const { return name.find(only_) != std::string::npos; }
  /// Runs a group unless --only excludes its name; prints one line. Throws DeviceLost when it left the device broken.
  void group(const std::string& name, const std::function<void(Result&)>& body);
  /// Says that something could not be checked here.
  void skip(const std::string& name, const std::string& why);
  /// Prints the summary and returns the exit code.
  int finish() const;

 private:
  std::string only_;
  std::uint64_t seed_;
  int passed_ = 0;
  int failed_ = 0;
};

/// Draws of the whole program, seeded anew for each group so that --only repeats what the full run did.
std::mt19937_64& generator();

/// n draws from N(0, deviation^2), exact in bfloat16 if `bf16`.
std::vector<float> random_values(std::int64_t n, double deviation = 1.0, bool bf16 = true);
std::vector<std::int32_t> random_ids(std::int64_t n, std::int64_t vocabulary);

// The groups, one file each.
void check_elementwise(Harness& harness);
void check_linear(Harness& harness);
void check_rows(Harness& harness);
void check_rotation(Harness& harness);
void check_attention(Harness& harness);
void check_attention_fp8(Harness& harness);
void check_nll(Harness& harness);
void check_argmax(Harness& harness);
void check_whole(Harness& harness);
void check_memory(Harness& harness);

}  // namespace longrope::kernels::check
