// The fused LM head and cross-entropy.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/backend.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"
#include "kernels/cuda/loss.hpp"

namespace longrope::kernels::check {
namespace {

constexpr double kTolerance = 1e-4;  // nats, on logits of deviation 3 with float32 accumulation

struct Problem {
  Problem(const Backend& backend, std::int64_t rows_, std::int64_t hidden_, std::int64_t vocabulary_)
      : rows(rows_),
        hidden(hidden_),
        vocabulary(vocabulary_),
        x(random_values(rows * hidden)),
        weight(random_values(vocabulary * hidden, 3.0 / std::sqrt(static_cast<double>(hidden)))),
        targets(random_ids(rows, vocabulary)) {
    targets.front() = 0;
    targets.back() = static_cast<std::int32_t>(vocabulary - 1);
    reference_weight = doubles(weight);
    const auto bits = bf16_bits(weight);
    head = backend.pack_lm_head({bits.data(), DType::bf16, vocabulary, hidden});
  }

  Doubles run(const Backend& backend) const {
    const DeviceData input(rows, hidden, DType::bf16, x);
    Doubles nll(static_cast<std::size_t>(rows), -1.0);
    backend.nll(*head, input.matrix(), targets, nll);
    return nll;
  }

  /// By one implementation, on operands between guard zones; all rows, or those from `first` on.
  Doubles run(const cuda::LossImplementation& implementation, Result& result) const {
    return run(implementation, result, 0, rows);
  }
  Doubles run(const cuda::LossImplementation& implementation, Result& result, std::int64_t first,
              std::int64_t count) const {
    const cuda::Device device(0);
    const cuda::Uploader uploader(device);
    const cuda::Gemm gemm(device);
    const DeviceData input(rows, hidden, DType::bf16, x);
    const DeviceData weights(vocabulary, hidden, DType::bf16, weight);
    std::vector<float> words(targets.size());
    std::memcpy(words.data(), targets.data(), targets.size() * sizeof(float));
    const DeviceData ids(rows, 1, DType::f32, words);
    const DeviceData out(count, 2, DType::f32);  // doubles
    implementation.run({device, uploader, gemm}, {.x = input.matrix().row_range(first, count).data,
                                                  .weight = weights.data(),
                                                  .targets = static_cast<const std::int32_t*>(ids.data()) + first,
                                                  .nll = static_cast<double*>(out.data()),
                                                  .rows = count,
                                                  .columns = hidden,
                                                  .vocabulary = vocabulary});
    device.finish("check");
    result.expect(out.guards_intact(), "neighbours");
    const auto bytes = out.bits();
    Doubles nll(static_cast<std::size_t>(count));
    std::memcpy(nll.data(), bytes.data(), bytes.size());
    return nll;
  }

  double expected(std::int64_t row) const {
    const Doubles logits = product(Doubles(x.begin() + row * hidden, x.begin() + (row + 1) * hidden), reference_weight,
                                   {}, 1, hidden, vocabulary);
    return nll(logits, targets[static_cast<std::size_t>(row)]);
  }

  std::int64_t rows, hidden, vocabulary;
  std::vector<float> x, weight;
  Doubles reference_weight;
  std::vector<std::int32_t> targets;
  std::unique_ptr<LmHead> head;
};

/// `implementation`, or if null what the backend chooses.
void check_problem(const Backend& backend, std::int64_t rows, std::int64_t hidden, std::int64_t vocabulary,
                   Result& result, const cuda::LossImplementation* implementation = nullptr) {
  const Problem problem(backend, rows, hidden, vocabulary);
  const auto run = [&] {
    return implementation == nullptr ? problem.run(backend) : problem.run(*implementation, result);
  };
  const Doubles all = run();
  Doubles values;
  Doubles expected;
  const std::int64_t stride = rows * vocabulary > 2000000 ? rows / 7 : 1;  // the reference is slow
  for (std::int64_t row = 0; row < rows; row += stride) {
    values.push_back(all[static_cast<std::size_t>(row)]);
    expected.push_back(problem.expected(row));
  }
  values.push_back(all.back());
  expected.push_back(problem.expected(rows - 1));
  const std::string what = std::to_string(rows) + " x " + std::to_string(hidden) + " x " + std::to_string(vocabulary);
  result.compare_absolute(values, expected, kTolerance, what);
  bool written = true;
  for (const double value : all) written = written && std::isfinite(value) && value >= 0.0;
  result.expect(written, "every row is written, " + what);
  result.expect(run() == all, "the same bits again, " + what);
}

/// A row's loss is to the bit the one it has among others: rows of several sequences share a call.
void check_rows_alone(const Backend& backend, std::int64_t rows, std::int64_t hidden, std::int64_t vocabulary,
                      Result& result, const cuda::LossImplementation& implementation) {
  const Problem problem(backend, rows, hidden, vocabulary);
  const Doubles all = problem.run(implementation, result);
  for (const auto& [first, count] :
       {std::pair<std::int64_t, std::int64_t>{0, 1}, {rows - 1, 1}, {5, 77}, {rows / 4, rows / 2}, {1, rows - 1}}) {
    const Doubles part = problem.run(implementation, result, first, count);
    result.expect(std::equal(part.begin(), part.end(), all.begin() + first),
                  std::to_string(count) + " rows from " + std::to_string(first) + " of " + std::to_string(rows) +
                      ", vocabulary " + std::to_string(vocabulary));
  }
}

void check_not_finite(const Backend& backend, Result& result,
                      const cuda::LossImplementation* implementation = nullptr) {
  Problem problem(backend, 33, 64, 9000);
  const float infinity = std::numeric_limits<float>::infinity();
  problem.x[at(3, 64, 5)] = infinity;
  problem.x[at(7, 64, 0)] = -infinity;
  problem.x[at(11, 64, 63)] = std::numeric_limits<float>::quiet_NaN();
  const Doubles nll = implementation == nullptr ? problem.run(backend) : problem.run(*implementation, result);
  for (std::int64_t row = 0; row < 33; ++row) {
    const bool poisoned = row == 3 || row == 7 || row == 11;
    const double value = nll[static_cast<std::size_t>(row)];
    result.expect(poisoned ? std::isnan(value) : std::isfinite(value), "row " + std::to_string(row));
  }
}

}  // namespace

void check_nll(Harness& harness) {
  const auto backend = make_cuda_backend(Precision::bf16);
  harness.group("nll, vocabulary 1000", [&](Result& r) {
    for (const std::int64_t rows : {1, 31, 33, 257}) {
      check_problem(*backend, rows, 64, 1000, r);
      check_problem(*backend, rows, 100, 1000, r);
    }
  });
  harness.group("nll, vocabulary 32001", [&](Result& r) {
    for (const std::int64_t rows : {1, 33, 257}) check_problem(*backend, rows, 512, 32001, r);
    check_problem(*backend, 31, 99, 32001, r);
  });
  harness.group("nll, odd vocabularies", [&](Result& r) {
    for (const std::int64_t vocabulary : {1, 3, 127, 8191, 8192, 8193, 16385}) {
      check_problem(*backend, 33, 64, vocabulary, r);
    }
  });
  harness.group("nll, more rows than a block", [&](Result& r) { check_problem(*backend, 8200, 64, 300, r); });
  harness.group("nll, not finite", [&](Result& r) { check_not_finite(*backend, r); });
  for (const cuda::LossImplementation& implementation : cuda::loss_implementations()) {
    const std::string name = std::string("nll by ") + implementation.name;
    if (!implementation.supports({.rows = 1, .columns = 8, .vocabulary = 1})) {
      harness.skip(name, "not supported on this machine");
      continue;
    }
    harness.group(name + ", rows", [&](Result& r) {
      for (const std::int64_t rows : {1, 31, 127, 128, 129, 255, 256, 257, 600}) {
        check_problem(*backend, rows, 136, 700, r, &implementation);
      }
    });
    harness.group(name + ", vocabularies", [&](Result& r) {
      for (const std::int64_t vocabulary : {1, 2, 255, 256, 257, 8191, 8192, 8193, 40000}) {
        check_problem(*backend, 33, 72, vocabulary, r, &implementation);
      }
    });
    harness.group(name + ", columns", [&](Result& r) {
      for (const std::int64_t columns : {8, 56, 64, 128, 200, 1032, 4096}) {
        check_problem(*backend, 140, columns, 513, r, &implementation);
      }
    });
    harness.group(name + ", many tiles", [&](Result& r) {
      check_problem(*backend, 8200, 64, 300, r, &implementation);
      check_problem(*backend, 2500, 256, 32001, r, &implementation);
    });
    harness.group(name + ", rows alone", [&](Result& r) {
      check_rows_alone(*backend, 2500, 64, 1500, r, implementation);
      check_rows_alone(*backend, 600, 256, 32001, r, implementation);
      check_rows_alone(*backend, 8300, 128, 300, r, implementation);
    });
    harness.group(name + ", not finite", [&](Result& r) { check_not_finite(*backend, r, &implementation); });
  }
}

}  // namespace longrope::kernels::check
