// Grids, metrics and intervals of needle runs. Expected depths are numpy's, computed as gkamradt's code does.
#include "search/needle_grid.hpp"

#include <cmath>
#include <limits>

#include "kernels/error.hpp"
#include "search/needle_result.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::search;
using longrope::InputError;
using longrope::model::NeedleTask;
using longrope::tests::ContainsSubstring;
using longrope::tests::message_of;

TEST_CASE("depths are spread as gkamradt spreads them", "[needle]") {
  CHECK(linear_depths(1) == std::vector<double>{0});
  CHECK(linear_depths(5) == std::vector<double>{0, 25, 50, 75, 100});
  CHECK(linear_depths(9) == std::vector<double>{0, 12, 25, 38, 50, 62, 75, 88, 100});  // halves to even
  CHECK(linear_depths(8) == std::vector<double>{0, 14, 29, 43, 57, 71, 86, 100});
  CHECK(sigmoid_depths(5) == std::vector<double>{0, 7.586, 50, 92.414, 100});
  CHECK(sigmoid_depths(6) == std::vector<double>{0, 4.743, 26.894, 73.106, 95.257, 100});
}

TEST_CASE("a grid's cells are numbered by length, depth, trial", "[needle]") {
  const NeedleGrid grid{{256, 512}, {0, 50, 100}, 4};
  grid.validate();
  REQUIRE(grid.cells() == 24);
  std::size_t index = 0;
  for (const std::int64_t length : grid.lengths) {
    for (const double depth : grid.depths_percent) {
      for (std::int64_t trial = 0; trial < 4; ++trial, ++index) {
        CHECK(grid.cell(index).length == length);
        CHECK(grid.cell(index).depth_percent == depth);
        CHECK(grid.cell(index).trial == trial);
      }
    }
  }
  const auto refusal = [](const NeedleGrid& bad) { return message_of<InputError>([&] { bad.validate(); }); };
  CHECK_THAT(refusal({{}, {0}, 1}), ContainsSubstring("at least one length"));
  CHECK_THAT(refusal({{256}, {0}, 0}), ContainsSubstring("at least one length"));
  CHECK_THAT(refusal({{256, 256}, {0}, 1}), ContainsSubstring("one is there twice"));
  CHECK_THAT(refusal({{256}, {0, 50, 0}, 1}), ContainsSubstring("one is there twice"));
  CHECK_THAT(refusal({{256}, {std::nan("")}, 1}), ContainsSubstring("from 0 to 100"));
  CHECK_THAT(refusal({{256}, {0, 100}, 10'000'000}), ContainsSubstring("at most"));
}

TEST_CASE("what counts as found is each task's published metric", "[needle]") {
  const auto passkey = [](const char* text, const char* key) { return needle_found(NeedleTask::passkey, text, key); };
  CHECK(passkey("12345. The grass", "12345"));
  CHECK(passkey("the key 12345", "12345"));
  CHECK(passkey(" 007.", "7"));
  CHECK(passkey("0", "0"));
  CHECK_FALSE(passkey("123456", "12345"));
  CHECK_FALSE(passkey("1 12345", "12345"));
  CHECK_FALSE(passkey("", "12345"));
  CHECK_FALSE(passkey("key", "0"));
  CHECK(needle_found(NeedleTask::niah, "I think: EAT a Sandwich, yes", "eat a sandwich"));
  CHECK_FALSE(needle_found(NeedleTask::niah, "eat a sandwic", "eat a sandwich"));
  CHECK(needle_found(NeedleTask::niah_single_1, "is 7654321 and 1", "7654321"));
  CHECK_FALSE(needle_found(NeedleTask::niah_multikey_1, "765432", "7654321"));
}

TEST_CASE("Wilson's interval of a share", "[needle]") {
  // R: prop.test(8, 10, correct = FALSE)$conf.int, and so on.
  const auto [low, high] = wilson_interval(8, 10);
  CHECK(low == Approx(0.4901625).margin(1e-7));
  CHECK(high == Approx(0.9433178).margin(1e-7));
  CHECK(wilson_interval(0, 10).first == 0.0);
  CHECK(wilson_interval(0, 10).second == Approx(0.2775328).margin(1e-7));
  CHECK(wilson_interval(10, 10).second == 1.0);
  CHECK(std::isnan(wilson_interval(0, 0).first));
}

TEST_CASE("sums over cells: NLL only has no accuracy, a NaN is not hidden", "[needle]") {
  std::vector<NeedleRow> rows(3);
  for (std::size_t i = 0; i < 3; ++i) {
    rows[i].exact = i == 0 ? 1 : 0;
    rows[i].nll_nats = 0.5 * static_cast<double>(i);
    rows[i].answer_tokens = 5;
  }
  const auto of = [&] {
    std::vector<const NeedleRow*> views;
    for (const NeedleRow& row : rows) views.push_back(&row);
    return summarise(views);
  };
  CHECK(of().accuracy() == Approx(1.0 / 3.0));
  CHECK(of().perplexity() == Approx(std::exp(1.5 / 15.0)));
  rows[1].exact = -1;
  CHECK(of().accuracy() == Approx(0.5));
  rows[0].exact = rows[2].exact = -1;
  CHECK(std::isnan(of().accuracy()));
  rows[1].nll_nats = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(of().perplexity()));
  CHECK(of().cells == 3);
}
