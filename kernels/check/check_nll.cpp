// The fused LM head and cross-entropy.
#include <cmath>
#include <limits>

#include "kernels/backend.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"

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

void check_problem(const Backend& backend, std::int64_t rows, std::int64_t hidden, std::int64_t vocabulary,
                   Result& result) {
  const Problem problem(backend, rows, hidden, vocabulary);
  const Doubles all = problem.run(backend);
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
  result.expect(problem.run(backend) == all, "the same bits again, " + what);
}

void check_not_finite(const Backend& backend, Result& result) {
  Problem problem(backend, 33, 64, 9000);
  const float infinity = std::numeric_limits<float>::infinity();
  problem.x[at(3, 64, 5)] = infinity;
  problem.x[at(7, 64, 0)] = -infinity;
  problem.x[at(11, 64, 63)] = std::numeric_limits<float>::quiet_NaN();
  const Doubles nll = problem.run(backend);
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
}

}  // namespace longrope::kernels::check
