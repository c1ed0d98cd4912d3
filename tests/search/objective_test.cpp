#include "search/objective.hpp"

#include <cmath>

#include "kernels/error.hpp"
#include "search/evaluation_cost.hpp"
#include "search/objective_windows.hpp"
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
  const auto all = parse_objectives("needle,key-ppl@1024,ppl", 2048);
  REQUIRE(all.size() == 3);
  CHECK(all[0].kind == Objective::Kind::needle);
  CHECK(all[0].length == 2048);
  CHECK(all[1].kind == Objective::Kind::key_perplexity);
  CHECK(to_string(all) == "needle@2048,key-ppl@1024,ppl@2048");
  CHECK(std::string(all[0].key()) == "needle_ppl");
  CHECK(std::string(all[1].key()) == "key_ppl");
  CHECK(std::string(all[2].key()) == "ppl");
  CHECK(std::string(all[1].label()) == "key PPL");
  CHECK(count_objectives("ppl@2048") == 1);
  CHECK(count_objectives("ppl@2048,needle@4096,x") == 3);
}

TEST_CASE("objectives that are none are refused with what there is") {
  const std::string kinds = "[--objective] must be one of ppl@LENGTH, key-ppl@LENGTH, needle@LENGTH but got";
  CHECK(refusal("banana@2048") == kinds + " \"banana@2048\"");
  for (const char* text : {"neddle", "key_ppl@64", "needles@64", "cus_label", "ppl,neddle@64", "Needle", " needle"})
    CHECK(contains(refusal(text), kinds));
  CHECK(contains(refusal("needle@4096"), "the length of needle must be from 2 to the target length 2048"));
  CHECK(contains(refusal("needle,needle@2048"), "each objective once"));
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

TEST_CASE("windows of a needle come from its maker, those of key tokens are those of perplexity") {
  model::Corpus corpus;
  corpus.documents.push_back({"d", std::vector<std::int32_t>(100, 3)});
  const auto objectives = parse_objectives("ppl@20,needle@10,key-ppl@20", 20);
  const auto maker = [](std::int64_t length, std::int64_t count) {
    ObjectiveWindows made;
    for (std::int64_t w = 0; w < count; ++w) {
      model::Window window;
      window.document = -1;
      window.length = length;
      window.first_scored = length - 2;
      made.windows.push_back(window);
      made.tokens.emplace_back(static_cast<std::size_t>(length), 7);
      made.needle_first.push_back(w);
    }
    return made;
  };
  const ObjectiveWindows made = make_objective_windows(corpus, {}, objectives, 3, maker);
  REQUIRE(made.windows.size() == 9);
  CHECK(made.needle_first == std::vector<std::int64_t>{-1, -1, -1, 0, 1, 2, -1, -1, -1});
  for (std::size_t w = 0; w < 3; ++w) {
    CHECK(made.windows[w].length == 20);
    CHECK(made.windows[3 + w].length == 10);
    CHECK(made.windows[3 + w].scored_tokens() == 2);
    CHECK(made.windows[6 + w].first_token == made.windows[w].first_token);
    CHECK(made.tokens[6 + w] == made.tokens[w]);
  }
  // A needle that cannot be made is never something else in its place.
  CHECK_THROWS_AS(make_objective_windows(corpus, {}, objectives, 3, {}), std::logic_error);
  CHECK_THROWS_AS(
      make_objective_windows(corpus, {}, objectives, 3, [&](std::int64_t n, std::int64_t) { return maker(n, 2); }),
      std::logic_error);
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
  const std::vector<WindowPass> apart = {{{0}, window}, {{1}, longer}, {{2}, longer}};
  const auto shares = window_cost_shares(config, apart);
  CHECK(std::abs(shares[0] + shares[1] + shares[2] - 1.0) < 1e-12);
  CHECK(shares[1] == shares[2]);
  CHECK(shares[1] > 20.0 * shares[0]);  // more than in proportion: attention is quadratic
  const std::vector<WindowPass> joined = {{{0, 2}, longer}, {{1}, longer}};
  const auto shared = window_cost_shares(config, joined);
  CHECK(std::abs(shared[0] - 0.25) < 1e-12);
  CHECK(shared[2] == shared[0]);
  CHECK(std::abs(shared[1] - 0.5) < 1e-12);
}
