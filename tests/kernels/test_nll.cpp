#include <limits>

#include "tests/kernels/fixtures.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::test;

namespace {

std::vector<double> run(const Backend& backend, const Guarded& x, const LmHead& head,
                        const std::vector<std::int32_t>& targets) {
  std::vector<double> out(targets.size() + 2, -77.0);  // a guard on each side
  std::fill(out.begin() + 1, out.end() - 1, std::nan(""));
  backend.nll(head, x.matrix(), targets, std::span(out).subspan(1, targets.size()));
  CHECK(out.front() == -77.0);
  CHECK(out.back() == -77.0);
  return {out.begin() + 1, out.end() - 1};
}

void check_nll(const Backend& backend, std::int64_t rows, std::int64_t hidden, std::int64_t vocabulary, double spread) {
  const DType dtype = backend.activation_dtype();
  CAPTURE(dtype, rows, hidden, vocabulary, spread);
  const Floats w = random_floats(vocabulary * hidden);
  const Floats x = random_floats(rows * hidden, spread);
  const auto head = backend.pack_lm_head({w.data(), DType::f32, vocabulary, hidden});
  CHECK(head->vocabulary() == vocabulary);
  auto targets = random_ids(rows, vocabulary);
  targets.back() = static_cast<std::int32_t>(vocabulary - 1);
  targets.front() = 0;
  const auto values = run(backend, Guarded(backend, rows, hidden, dtype, x), *head, targets);
  const Doubles xs = seen(x, dtype);
  const Doubles ws = seen(w, dtype);
  Comparison comparison;
  for (std::int64_t r = 0; r < rows; ++r) {
    Doubles logits;
    double magnitude = 0.0;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      const auto dot = oracle::dot(&xs[oracle::at(r, hidden, 0)], &ws[oracle::at(v, hidden, 0)], hidden);
      logits.push_back(dot.value);
      magnitude = std::max(magnitude, dot.magnitude);
    }
    const auto row = static_cast<std::size_t>(r);
    comparison.add(values[row], oracle::nll(logits, targets[row]), 1e-6 + 1e-6 * magnitude, r);
  }
  CHECK(comparison.ok());
}

}  // namespace

TEST_CASE("nll matches double precision for any vocabulary", "[nll]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t vocabulary : {1, 7, 1023, 1024, 1031, 2048, 5003}) {
      check_nll(*backend, 33, 48, vocabulary, 0.3);
    }
    for (const std::int64_t rows : {1, 31, 257}) check_nll(*backend, rows, 64, 1031, 0.3);
    check_nll(*backend, 31, 80, 5003, 30.0);  // logits of hundreds
  }
}

TEST_CASE("nll of an input that is not finite is NaN, in that row only", "[nll]") {
  const auto backend = make_cpu_backend(Precision::f32);
  const float infinity = std::numeric_limits<float>::infinity();
  const Floats w = random_floats(3000 * 2);
  const auto head = backend->pack_lm_head({w.data(), DType::f32, 3000, 2});
  for (const float bad : {infinity, -infinity, std::nanf("")}) {
    Floats x = random_floats(5 * 2);
    x[2 * 2] = bad;
    const auto values = run(*backend, Guarded(*backend, 5, 2, DType::f32, x), *head, {1, 2, 2999, 4, 5});
    for (std::size_t r = 0; r < 5; ++r) CHECK(std::isnan(values[r]) == (r == 2));
  }
}

TEST_CASE("a single logit that is not finite makes the row NaN", "[nll]") {
  const auto backend = make_cpu_backend(Precision::f32);
  for (const float bad : {3e38F, -3e38F}) {  // times 10 overflows
    for (const std::int64_t column : {0, 1500, 2999}) {
      Floats w = random_floats(3000);
      w[static_cast<std::size_t>(column)] = bad;
      const auto head = backend->pack_lm_head({w.data(), DType::f32, 3000, 1});
      const auto values = run(*backend, Guarded(*backend, 2, 1, DType::f32, {10.0F, 1e-30F}), *head, {7, 7});
      CHECK(std::isnan(values[0]));
      CHECK(std::isfinite(values[1]));
    }
  }
}

TEST_CASE("nll refuses targets outside the vocabulary", "[nll][errors]") {
  const auto backend = make_cpu_backend(Precision::f32);
  const Floats w = random_floats(14);
  const auto head = backend->pack_lm_head({w.data(), DType::f32, 7, 2});
  const Guarded x(*backend, 1, 2, DType::f32, {1.0F, 2.0F});
  std::vector<double> out(1);
  for (const std::int32_t target : {-1, 7}) {
    CHECK_THROWS_AS(backend->nll(*head, x.matrix(), std::vector{target}, out), longrope::InputError);
  }
}
