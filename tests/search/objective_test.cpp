#include "search/objective.hpp"

#include <cmath>

#include "kernels/error.hpp"
#include "search/evaluation_cost.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

namespace {

std::string refusal(const std::string& text) {
  return message_of<InputError>([&] { parse_objectives(text, 2048); });
}

}  // namespace

TEST_CASE("objectives are read and printed") {
  CHECK(to_string(parse_objectives("ppl", 2048)) == "ppl@2048");
  const auto two = parse_objectives("ppl@2048,ppl@256", 2048);
  REQUIRE(two.size() == 2);
  CHECK(two[1].length == 256);
  CHECK(to_string(two) == "ppl@2048,ppl@256");
  CHECK(count_objectives("ppl@2048") == 1);
  CHECK(count_objectives("ppl@2048,needle@4096,x") == 3);
}

TEST_CASE("objectives that are none are refused with what there is") {
  CHECK(refusal("banana@2048") == "[--objective] must be one of ppl@LENGTH but got \"banana@2048\"");
  CHECK(contains(refusal(""), "must be one of ppl@LENGTH"));
  CHECK(contains(refusal("ppl@2048,"), "must be one of ppl@LENGTH"));
  for (const char* text : {"ppl@", "ppl@1", "ppl@0", "ppl@-5", "ppl@2049", "ppl@12x", "ppl@1e3", "ppl@ 64"})
    CHECK(contains(refusal(text), "the length of ppl must be from 2 to the target length 2048"));
  CHECK(contains(refusal("ppl@2048,ppl"), "each objective once but got ppl@2048 twice"));
}

TEST_CASE("each objective is the perplexity of its own windows") {
  const std::vector<WindowScore> scores = {{2.0, 2}, {4.0, 2}, {1.0, 1}, {9.0, 4}};
  const auto values = objective_values(scores, 2);
  REQUIRE(values.size() == 2);
  CHECK(values[0] == std::exp(1.5));
  CHECK(values[1] == std::exp(2.0));
  CHECK(objective_values(scores, 1)[0] == std::exp(16.0 / 9.0));
  CHECK_THROWS_AS(objective_windows(4, 3, 0), std::logic_error);
  CHECK_THROWS_AS(objective_windows(4, 2, 2), std::logic_error);
}

TEST_CASE("windows cost their operations") {
  model::ModelConfig config;
  config.vocabulary = 7;
  config.hidden_size = 4;
  config.intermediate_size = 6;
  config.layers = 2;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 3;
  config.sliding_window = {0, 0};
  model::Window window;
  window.length = 6;  // 5 tokens in, 5 scored
  // Per layer 4*6 + 4*6 + 6*4 + 3*4*6 = 144 weights; 15 causal pairs of 6 channels; head 4*7.
  const double expected = 2 * (2.0 * 144 * 5 + 4.0 * 6 * 15) + 2.0 * 28 * 5;
  CHECK(window_flops(config, window) == expected);
  config.sliding_window = {2, 0};  // 1 + 2 + 2 + 2 + 2 pairs in the first layer
  CHECK(window_flops(config, window) == expected - 4.0 * 6 * (15 - 9));
  model::Window longer = window;
  longer.length = 101;
  const auto shares = window_cost_shares(config, std::vector{window, longer, longer});
  CHECK(std::abs(shares[0] + shares[1] + shares[2] - 1.0) < 1e-12);
  CHECK(shares[1] == shares[2]);
  CHECK(shares[1] > 20.0 * shares[0]);  // more than in proportion: attention is quadratic
}
