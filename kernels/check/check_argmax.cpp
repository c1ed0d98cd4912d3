// The LM head's largest logit.
#include <cmath>
#include <limits>

#include "kernels/backend.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"

namespace longrope::kernels::check {
namespace {

struct Problem {
  Problem(const Backend& backend, std::int64_t rows_, std::int64_t hidden_, std::int64_t vocabulary_)
      : rows(rows_),
        hidden(hidden_),
        vocabulary(vocabulary_),
        x(random_values(rows * hidden)),
        weight(random_values(vocabulary * hidden, 3.0 / std::sqrt(static_cast<double>(hidden)))) {
    pack(backend);
  }

  void pack(const Backend& backend) {
    const auto bits = bf16_bits(weight);
    head = backend.pack_lm_head({bits.data(), DType::bf16, vocabulary, hidden});
  }

  std::vector<std::int32_t> run(const Backend& backend) const {
    const DeviceData input(rows, hidden, DType::bf16, x);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(rows), -7);
    backend.argmax(*head, input.matrix(), ids);
    return ids;
  }

  Doubles logits(std::int64_t row) const {
    return product(Doubles(x.begin() + row * hidden, x.begin() + (row + 1) * hidden), doubles(weight), {}, 1, hidden,
                   vocabulary);
  }

  std::int64_t rows, hidden, vocabulary;
  std::vector<float> x, weight;
  std::unique_ptr<LmHead> head;
};

/// The logit chosen is the largest one, within what float32 sums may differ.
void check_problem(const Backend& backend, std::int64_t rows, std::int64_t hidden, std::int64_t vocabulary,
                   Result& result) {
  const Problem problem(backend, rows, hidden, vocabulary);
  const auto ids = problem.run(backend);
  const std::int64_t stride = rows * vocabulary > 2000000 ? rows / 7 : 1;  // the reference is slow
  Doubles chosen;
  Doubles largest;
  for (std::int64_t row = 0; row < rows; row += stride) {
    const Doubles logits = problem.logits(row);
    const std::int32_t id = ids[static_cast<std::size_t>(row)];
    if (id < 0 || id >= vocabulary) {
      result.expect(false, "row " + std::to_string(row) + " chose " + std::to_string(id));
      return;
    }
    chosen.push_back(logits[static_cast<std::size_t>(id)]);
    largest.push_back(*std::max_element(logits.begin(), logits.end()));
  }
  const std::string what = std::to_string(rows) + " x " + std::to_string(hidden) + " x " + std::to_string(vocabulary);
  result.compare_absolute(chosen, largest, 1e-4, what);
  result.expect(problem.run(backend) == ids, "the same ids again, " + what);
}

void check_ties(const Backend& backend, Result& result) {
  Problem problem(backend, 3, 8, 20000);
  for (float& value : problem.x) value = 1.0F;
  for (std::int64_t entry = 0; entry < problem.vocabulary; ++entry) {
    const bool top = entry == 150 || entry == 151 || entry == 9000 || entry == 19999;
    for (std::int64_t i = 0; i < 8; ++i) problem.weight[at(entry, 8, i)] = top ? 0.5F : 0.25F;
  }
  problem.pack(backend);
  result.expect(problem.run(backend) == std::vector<std::int32_t>{150, 150, 150}, "the lowest of equal entries");
}

void check_not_finite(const Backend& backend, Result& result) {
  Problem problem(backend, 33, 64, 9000);
  const float infinity = std::numeric_limits<float>::infinity();
  problem.x[at(3, 64, 5)] = infinity;
  problem.x[at(7, 64, 0)] = -infinity;
  problem.x[at(11, 64, 63)] = std::numeric_limits<float>::quiet_NaN();
  const auto ids = problem.run(backend);
  for (std::int64_t row = 0; row < 33; ++row) {
    const bool poisoned = row == 3 || row == 7 || row == 11;
    result.expect((ids[static_cast<std::size_t>(row)] == -1) == poisoned, "row " + std::to_string(row));
  }
}

}  // namespace

void check_argmax(Harness& harness) {
  const auto backend = make_cuda_backend(Precision::bf16);
  harness.group("argmax, rows", [&](Result& r) {
    for (const std::int64_t rows : {1, 2, 31, 33, 257}) check_problem(*backend, rows, 72, 1000, r);
    check_problem(*backend, 5, 99, 513, r);
    check_problem(*backend, 8200, 64, 300, r);
  });
  harness.group("argmax, vocabularies", [&](Result& r) {
    for (const std::int64_t vocabulary : {1, 3, 255, 257, 8191, 8192, 8193, 40000}) {
      check_problem(*backend, 7, 64, vocabulary, r);
    }
  });
  harness.group("argmax, ties", [&](Result& r) { check_ties(*backend, r); });
  harness.group("argmax, not finite", [&](Result& r) { check_not_finite(*backend, r); });
}

}  // namespace longrope::kernels::check
