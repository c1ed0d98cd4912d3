// The choice among attention implementations and the plans of the CUDA backend that need no device.
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

TEST_CASE("the first implementation that supports the problem is chosen", "[cuda]") {
  const std::array<AttentionImplementation, 3> all{{{AttentionKind::cudnn, "a", never, run},
                                                    {AttentionKind::hopper, "b", only_128, run},
                                                    {AttentionKind::plain, "c", up_to_256, run}}};
  CHECK(choose_attention(all, of_head_dim(128)).kind == AttentionKind::hopper);
  CHECK(choose_attention(all, of_head_dim(64)).kind == AttentionKind::plain);
  CHECK_THROWS_AS(choose_attention(all, of_head_dim(300)), longrope::InputError);
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
