// The choice among attention implementations and the plans of the CUDA backend that need no device.
#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "kernels/cuda/attention_select.hpp"
#include "kernels/error.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;

namespace {

bool only_128(const AttentionProblem& p) { return p.head_dim == 128; }
bool up_to_256(const AttentionProblem& p) { return p.head_dim <= 256; }
bool never(const AttentionProblem&) { return false; }
void run(const AttentionProblem&, cudaStream_t) {}

AttentionProblem of_head_dim(std::int64_t head_dim) {
  AttentionProblem problem;
  problem.head_dim = head_dim;
  return problem;
}

}  // namespace

TEST_CASE("of the implementations that support a problem the preferred one is chosen", "[cuda]") {
  const std::array<AttentionImplementation, 3> all{{{AttentionKind::cudnn, "a", never, run},
                                                    {AttentionKind::plain, "b", up_to_256, run},
                                                    {AttentionKind::hopper, "c", only_128, run}}};
  CHECK(choose_attention(all, of_head_dim(128)).kind == AttentionKind::hopper);
  CHECK(choose_attention(all, of_head_dim(64)).kind == AttentionKind::plain);
  CHECK_THROWS_AS(choose_attention(all, of_head_dim(300)), longrope::InputError);
}

TEST_CASE("our Hopper kernel comes first, and cuDNN before the portable one where its plan pays", "[cuda]") {
  const auto second = [](std::int64_t head_dim, std::int64_t rows, std::int64_t keys, std::int64_t window) {
    AttentionProblem problem = of_head_dim(head_dim);
    problem.rows = rows;
    problem.first_position = keys - rows;
    problem.sliding_window = window;
    std::array<AttentionKind, 4> order = attention_preference(problem);
    CHECK(order.front() == AttentionKind::hopper);
    CHECK(order.back() == AttentionKind::plain);
    const AttentionKind next = order[1];
    std::sort(order.begin(), order.end());
    CHECK(std::unique(order.begin(), order.end()) == order.end());
    return next;
  };
  for (const std::int64_t head_dim : {64, 80, 128, 192, 256}) {
    CHECK(second(head_dim, 4096, 4096, 0) == AttentionKind::cudnn);
    CHECK(second(head_dim, 4095, 4096, 0) == AttentionKind::portable);
    CHECK(second(head_dim, 1, 16777215, 0) == AttentionKind::portable);
    CHECK(second(head_dim, 4096, 2000000, 4095) == AttentionKind::portable);
    CHECK(second(head_dim, 4096, 4096, 2000000) == AttentionKind::cudnn);
  }
}

TEST_CASE("every implementation is listed once and plain comes last", "[cuda]") {
  std::set<std::string> names;
  for (const AttentionImplementation& implementation : attention_implementations()) {
    CHECK(names.insert(implementation.name).second);
    CHECK(implementation.run != nullptr);
  }
  REQUIRE(!names.empty());
  const AttentionImplementation& last = attention_implementations().back();
  CHECK(last.kind == AttentionKind::plain);
  CHECK(last.supports(of_head_dim(256)));
  CHECK(!last.supports(of_head_dim(257)));
}
