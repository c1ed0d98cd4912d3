// Which problems cuDNN is asked to solve, and which of them share a plan or a trial.
#include "kernels/cuda/attention_cudnn.hpp"
#include "kernels/cuda/attention_cudnn_shape.hpp"
#include "kernels/cuda/attention_rule.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;

namespace {

AttentionProblem problem_of(std::int64_t rows, std::int64_t first_position, std::int64_t window) {
  AttentionProblem problem;
  problem.heads = 32;
  problem.kv_heads = 8;
  problem.head_dim = 128;
  problem.rows = rows;
  problem.first_position = first_position;
  problem.sliding_window = window;
  return problem;
}

template <typename Change>
std::string broken(const Change& change) {
  AttentionProblem problem = problem_of(100, 200, 0);
  change(problem);
  return attention_rule(problem);
}

}  // namespace

TEST_CASE("attention problems that make no sense break a rule that names the value", "[cuda][attention]") {
  CHECK(attention_rule(problem_of(1, 0, 0)).empty());
  CHECK(broken([](auto& p) { p.head_dim = 24; }) == "head_dim must be a multiple of 8 from 32 to 256 but got 24");
  CHECK(broken([](auto& p) { p.head_dim = 100; }) == "head_dim must be a multiple of 8 from 32 to 256 but got 100");
  CHECK(broken([](auto& p) { p.head_dim = 264; }) == "head_dim must be a multiple of 8 from 32 to 256 but got 264");
  CHECK(broken([](auto& p) { p.kv_heads = 0; }) == "kv_heads must be positive but got 0");
  CHECK(broken([](auto& p) { p.kv_heads = 5; }) == "heads must be a positive multiple of kv_heads but got 32");
  CHECK(broken([](auto& p) { p.heads = 0; }) == "heads must be a positive multiple of kv_heads but got 0");
  CHECK(broken([](auto& p) { p.rows = 0; }) == "rows must be positive but got 0");
  CHECK(broken([](auto& p) { p.first_position = -1; }) == "first_position must not be negative but got -1");
  CHECK(broken([](auto& p) { p.sliding_window = -1; }) == "sliding_window must not be negative but got -1");
  for (const std::int64_t head_dim : {32, 40, 64, 80, 128, 256}) {
    CHECK(broken([&](auto& p) { p.head_dim = head_dim; }).empty());
  }
}

TEST_CASE("cuDNN counts keys in int32, and in float32 where there is a window", "[cuda][attention]") {
  constexpr std::int64_t kRows = 1000;
  CHECK(cudnn_attention_rule(problem_of(kRows, (1LL << 31) - 1 - kRows, 0)).empty());
  CHECK(cudnn_attention_rule(problem_of(kRows, (1LL << 31) - kRows, 0)) ==
        "keys must be below 2^31 but got 2147483648");
  CHECK(cudnn_attention_rule(problem_of(kRows, (1LL << 24) - kRows, 4096)).empty());
  CHECK(cudnn_attention_rule(problem_of(kRows, (1LL << 24) - kRows + 1, 4096)) ==
        "keys must not exceed 2^24 with a sliding window but got 16777217");
}

TEST_CASE("a window that hides nothing is no window", "[cuda][attention]") {
  CHECK(cudnn_attention_shape(problem_of(100, 200, 300)) == cudnn_attention_shape(problem_of(100, 200, 0)));
  CHECK(cudnn_attention_shape(problem_of(100, 200, 299)) != cudnn_attention_shape(problem_of(100, 200, 0)));
  CHECK(cudnn_attention_shape(problem_of(100, 200, 0)).keys == 300);
}

TEST_CASE("one row has no window but fewer keys", "[cuda][attention]") {
  CHECK(cudnn_attention_hidden_keys(problem_of(1, 200, 50)) == 151);
  CHECK(cudnn_attention_shape(problem_of(1, 200, 50)) == cudnn_attention_shape(problem_of(1, 49, 0)));
  CHECK(cudnn_attention_hidden_keys(problem_of(1, 200, 201)) == 0);
  CHECK(cudnn_attention_hidden_keys(problem_of(1, 200, 0)) == 0);
  CHECK(cudnn_attention_hidden_keys(problem_of(2, 200, 50)) == 0);
  CHECK(cudnn_attention_shape(problem_of(2, 200, 50)).sliding_window == 50);
}

TEST_CASE("chunks of one context share a trial, not a plan", "[cuda][attention]") {
  const auto shape = [](std::int64_t rows, std::int64_t first, std::int64_t window) {
    return cudnn_attention_shape(problem_of(rows, first, window));
  };
  const auto family = [&](std::int64_t rows, std::int64_t first, std::int64_t window) {
    return cudnn_attention_family(shape(rows, first, window));
  };
  CHECK(shape(100, 0, 0) != shape(100, 100, 0));
  CHECK(family(100, 0, 0) == family(100, 100, 0));
  CHECK(family(100, 0, 0) == family(7, 12345, 0));
  CHECK(family(100, 5000, 64) == family(100, 9000, 128));
  CHECK(family(100, 5000, 64) != family(100, 5000, 0));
  CHECK(family(1, 5000, 0) != family(2, 5000, 0));
  AttentionProblem other = problem_of(100, 0, 0);
  other.head_dim = 64;
  CHECK(cudnn_attention_family(cudnn_attention_shape(other)) != family(100, 0, 0));
}

TEST_CASE("cuDNN's attention is refused with a reason and without an exception", "[cuda][attention]") {
  AttentionProblem problem = problem_of(100, 0, 0);
  problem.head_dim = 20;
  CHECK(!attention_cudnn_supports(problem));
  CHECK(attention_cudnn_refusal(problem).find("but got") != std::string::npos);
  if (const std::string refusal = attention_cudnn_refusal(problem_of(100, 0, 0)); !refusal.empty()) {
    CHECK(!attention_cudnn_supports(problem_of(100, 0, 0)));
  } else {
    WARN("this machine runs cuDNN: kernel_check covers it");
  }
}
