// Which of a product's algorithms is taken: the decision, without a device.
#include <cstdint>
#include <set>
#include <vector>

#include "kernels/cuda/gemm_choice.hpp"
#include "kernels/cuda/gemm_probe.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::cuda;

namespace {

constexpr GemmCandidate kWhole{1, 0};
constexpr GemmCandidate kUnset{0, 0};  // as some kernels say
constexpr GemmCandidate kSplit{4, 2};
constexpr GemmCandidate kInPlace{1, 1};

/// The choice among candidates of which some are refused and some disagree; what was tried on the device.
struct Trial {
  Trial(const std::vector<GemmCandidate>& candidates, const std::set<std::size_t>& refused,
        const std::set<std::size_t>& disagreeing) {
    choice = choose_gemm(
        candidates, [&](std::size_t i) { return refused.count(i) == 0; },
        [&](std::size_t i) {
          tried.push_back(i);
          return disagreeing.count(i) == 0;
        });
  }
  std::optional<GemmChoice> choice;
  std::vector<std::size_t> tried;
};

}  // namespace

TEST_CASE("the library's first algorithm is taken where its rows agree", "[gemm]") {
  for (const GemmCandidate first : {kWhole, kUnset}) {
    const Trial trial({first, kWhole, kSplit}, {}, {});
    REQUIRE(trial.choice);
    CHECK(trial.choice->index == 0);
    CHECK(trial.choice->rows_independent);
    CHECK(trial.tried == std::vector<std::size_t>{0});  // no more than it takes
  }
}

TEST_CASE("what splits k, is refused for some rows or disagrees is passed over", "[gemm]") {
  const Trial trial({kSplit, kInPlace, kWhole, kWhole, kWhole, kWhole}, {2}, {3});
  REQUIRE(trial.choice);
  CHECK(trial.choice->index == 4);
  CHECK(trial.choice->rows_independent);
  CHECK(trial.tried == std::vector<std::size_t>{3, 4});
}

TEST_CASE("without an algorithm whose rows agree there still is one", "[gemm]") {
  const Trial disagreeing({kWhole, kSplit, kWhole}, {0}, {2});
  REQUIRE(disagreeing.choice);
  CHECK(disagreeing.choice->index == 1);  // the first that is accepted
  CHECK_FALSE(disagreeing.choice->rows_independent);
  const Trial split({kSplit, kSplit}, {}, {});
  CHECK(split.choice->index == 0);
  CHECK_FALSE(split.choice->rows_independent);
  CHECK(split.tried.empty());
  const Trial refused({kWhole, kWhole}, {0, 1}, {});
  CHECK(refused.choice->index == 0);
  CHECK_FALSE(refused.choice->rows_independent);
  CHECK_FALSE(Trial({}, {}, {}).choice);
}

TEST_CASE("views of a matrix have one alignment wherever they begin", "[gemm]") {
  const auto at = [](std::uintptr_t address) { return reinterpret_cast<const void*>(address); };
  CHECK(row_alignment(at(0x10000), 8192) == 256);
  CHECK(row_alignment(at(0), 8192) == 256);
  CHECK(row_alignment(at(0x10000), 128) == 128);
  CHECK(row_alignment(at(0x10000), 132) == 4);
  CHECK(row_alignment(at(0x10010), 8192) == 16);  // not where views begin, but where the matrix does
  for (const std::int64_t pitch : {16, 48, 128, 200, 256, 1408, 28672}) {
    for (std::uintptr_t row = 0; row < 40; ++row) {
      const std::uintptr_t address = 0x70000000 + row * static_cast<std::uintptr_t>(pitch);
      CAPTURE(pitch, row);
      CHECK(row_alignment(at(address), pitch) == row_alignment(at(0x70000000), pitch));
      CHECK(address % row_alignment(at(address), pitch) == 0);
    }
  }
}

TEST_CASE("a product is tried on more rows than a tile has, in bytes that the plan counts", "[gemm]") {
  CHECK(probe_rows(512 + 1024) == 2100);
  CHECK(probe_rows(8192) == 1024);
  CHECK(probe_rows(1 << 20) == 300);
  for (const ProbePart& part : kProbeParts) CHECK(part.first + part.rows <= 300);
  // Llama-3-8B's gate and up, its widest product.
  const std::int64_t row = 4096 * 2 + 28672 * 2;
  const MemoryFormat format = cuda_memory_format(Precision::bf16);
  const ScratchShape shape{8192, 1, 4096, 14336, 128256, {32, 8, 128, 128}};
  CHECK(format.scratch(shape) >= probe_rows(row) * row + 28672 * 2);
}
