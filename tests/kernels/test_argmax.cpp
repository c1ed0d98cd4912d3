#include <limits>
#include <random>

#include "kernels/cuda/logit_choice.hpp"
#include "tests/kernels/fixtures.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::test;

namespace {

std::vector<std::int32_t> run(const Backend& backend, const Guarded& x, const LmHead& head, std::size_t rows) {
  std::vector<std::int32_t> out(rows + 2, -77);  // a guard on each side
  backend.argmax(head, x.matrix(), std::span(out).subspan(1, rows));
  CHECK(out.front() == -77);
  CHECK(out.back() == -77);
  return {out.begin() + 1, out.end() - 1};
}

void check_argmax(const Backend& backend, std::int64_t rows, std::int64_t hidden, std::int64_t vocabulary) {
  const DType dtype = backend.activation_dtype();
  CAPTURE(dtype, rows, hidden, vocabulary);
  const Floats w = random_floats(vocabulary * hidden);
  const Floats x = random_floats(rows * hidden);
  const auto head = backend.pack_lm_head({w.data(), DType::f32, vocabulary, hidden});
  const auto ids = run(backend, Guarded(backend, rows, hidden, dtype, x), *head, static_cast<std::size_t>(rows));
  const Doubles xs = seen(x, dtype);
  const Doubles ws = seen(w, dtype);
  for (std::int64_t r = 0; r < rows; ++r) {
    double largest = -std::numeric_limits<double>::infinity();
    double second = largest;
    double magnitude = 0.0;
    std::int64_t best = -1;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      const auto dot = oracle::dot(&xs[oracle::at(r, hidden, 0)], &ws[oracle::at(v, hidden, 0)], hidden);
      magnitude = std::max(magnitude, dot.magnitude);
      if (dot.value > largest) {
        second = largest;
        largest = dot.value;
        best = v;
      } else {
        second = std::max(second, dot.value);
      }
    }
    if (largest - second > 1e-5 * magnitude) CHECK(ids[static_cast<std::size_t>(r)] == best);
  }
}

}  // namespace

TEST_CASE("argmax finds the largest logit of double precision for any vocabulary", "[argmax]") {
  for (const auto& backend : backends()) {
    for (const std::int64_t vocabulary : {1, 7, 1023, 1024, 1031, 2048, 5003})
      check_argmax(*backend, 33, 48, vocabulary);
    for (const std::int64_t rows : {1, 2, 31, 257, 300}) check_argmax(*backend, rows, 64, 2100);
  }
}

TEST_CASE("the lowest of equal logits is chosen, in a tile and across tiles", "[argmax]") {
  for (const auto& backend : backends()) {
    for (const std::vector<std::size_t>& tops :
         {std::vector<std::size_t>{7, 9}, {1023, 1024, 2999}, {2050, 2051}, {0}}) {
      Floats w(3000, 0.5F);
      for (const std::size_t top : tops) w[top] = 0.75F;
      const auto head = backend->pack_lm_head({w.data(), DType::f32, 3000, 1});
      const Guarded x(*backend, 2, 1, backend->activation_dtype(), {1.0F, -1.0F});
      const auto lowest = static_cast<std::int32_t>(tops.front());
      CHECK(run(*backend, x, *head, 2) == std::vector<std::int32_t>{lowest, lowest == 0 ? 1 : 0});
    }
  }
}

TEST_CASE("argmax of a row with a logit that is not finite is -1", "[argmax]") {
  const auto backend = make_cpu_backend(Precision::f32);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {3e38F, -3e38F, infinity, -infinity, std::nanf("")}) {  // the first two times 10 overflow
    for (const std::int64_t column : {0, 1500, 2999}) {
      Floats w = random_floats(3000);
      w[static_cast<std::size_t>(column)] = bad;
      const auto head = backend->pack_lm_head({w.data(), DType::f32, 3000, 1});
      const auto ids = run(*backend, Guarded(*backend, 2, 1, DType::f32, {10.0F, 1e-30F}), *head, 2);
      CHECK(ids[0] == -1);
      CHECK((ids[1] == -1) == !std::isfinite(bad));
    }
  }
}

TEST_CASE("choices of a device's threads combine to the same in any order", "[argmax][cuda]") {
  using namespace longrope::kernels::cuda;
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<LogitChoice> all;
    float largest = -std::numeric_limits<float>::infinity();
    for (std::int32_t entry = 0; entry < 40; ++entry) {
      const float value = static_cast<float>(static_cast<int>(random() % 9)) - 12.0F;  // ties are common
      largest = std::max(largest, value);
      all.push_back(choice_of(value, entry));
    }
    std::int32_t expected = 0;
    while (all[static_cast<std::size_t>(expected)].value != largest) ++expected;
    if (round % 5 == 4) {
      const float bad[] = {std::nanf(""), std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity()};
      all[random() % 40] = choice_of(bad[random() % 3], 7);
      expected = -1;
    }
    std::shuffle(all.begin(), all.end(), random);
    LogitChoice found = no_choice();
    for (const LogitChoice& choice : all) found = random() % 2 == 0 ? better(found, choice) : better(choice, found);
    CHECK(found.entry == expected);
  }
}
