// Scoring chosen targets of a sequence: the same values as in a whole score, and no more work than they need.
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/error.hpp"
#include "model/transformer.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/tiny_checkpoint.hpp"
#include "tests/support/wrapping_backend.hpp"

namespace longrope::model {
namespace {

constexpr std::int64_t kTokens = 257;

struct Fixture {
  Fixture() {
    tests::write_tiny_checkpoint(directory.path(), shape);
    config = read_model_config(directory.path());
    files = std::make_unique<TensorFiles>(directory.path());
    ids = tests::random_ids(kTokens, shape.vocabulary, 1);
  }
  Transformer transformer(const WindowLayout& layout) const { return {config, *files, backend, layout}; }
  std::unique_ptr<kernels::RotationTable> rotation(const Transformer& transformer) const {
    const std::vector<double> factors(static_cast<std::size_t>(config.rope.pairs()), 2.0);
    return transformer.rotation(RopeTable::from_factors(config.rope, factors, 1.0, 0),
                                kernels::RotationPrecision::exact, kTokens);
  }

  tests::ScratchDirectory directory;
  tests::TinyShape shape;
  tests::WrappingBackend backend;
  ModelConfig config;
  std::unique_ptr<TensorFiles> files;
  std::vector<std::int32_t> ids;
};

TEST_CASE("A target's NLL does not depend on which others are scored", "[targets]") {
  const Fixture f;
  std::vector<std::int64_t> all(kTokens - 1);
  std::iota(all.begin(), all.end(), 1);
  const std::vector<std::vector<std::int64_t>> chosen{all, {1}, {256}, {31, 32, 33, 64, 65, 100, 200, 201, 202, 256}};
  for (const WindowLayout layout : {WindowLayout{1024, false, 4}, WindowLayout{32, false, 4},
                                    WindowLayout{100, true, 4}, WindowLayout{3, false, 1}}) {
    CAPTURE(layout.chunk_tokens);
    const Transformer transformer = f.transformer(layout);
    const auto rotation = f.rotation(transformer);
    const std::vector<double> whole = transformer.token_nll(std::vector<Sequence>{{f.ids, 1, rotation.get()}}).front();
    REQUIRE(whole.size() == all.size());
    CHECK(sum_nll(whole).nll_nats == transformer.score(f.ids, 1, *rotation).nll_nats);
    std::vector<Sequence> sequences;
    for (const auto& targets : chosen) sequences.push_back({f.ids, 1, rotation.get(), targets});
    std::vector<std::vector<double>> values;
    if (layout.max_sequences > 1)
      values = transformer.token_nll(sequences);
    else
      for (const Sequence& s : sequences) values.push_back(transformer.token_nll({&s, 1}).front());
    for (std::size_t n = 0; n < chosen.size(); ++n) {
      CAPTURE(n);
      REQUIRE(values[n].size() == chosen[n].size());
      for (std::size_t i = 0; i < chosen[n].size(); ++i)
        CHECK(values[n][i] == whole[static_cast<std::size_t>(chosen[n][i]) - 1]);
      CHECK(transformer.score(std::span(sequences).subspan(n, 1)).front().nll_nats == sum_nll(values[n]).nll_nats);
    }
  }
}

TEST_CASE("The last layer does nothing more where no target is scored", "[targets]") {
  const Fixture f;
  const Transformer transformer = f.transformer({64, false, 1});
  const auto rotation = f.rotation(transformer);
  const auto rows = [&](const std::vector<std::int64_t>& targets) {
    const std::int64_t before = f.backend.projected_rows(2 * f.config.intermediate_size);
    transformer.token_nll(std::vector<Sequence>{{f.ids, 1, rotation.get(), targets}});
    return f.backend.projected_rows(2 * f.config.intermediate_size) - before;
  };
  const std::int64_t before = (f.config.layers - 1) * (kTokens - 1);
  CHECK(rows({256}) == before + 64);
  CHECK(rows({1}) == before + 64);
  CHECK(rows({64}) == before + 64);  // row 63 predicts it
  CHECK(rows({65}) == before + 64);
  CHECK(rows({64, 65}) == before + 128);
  CHECK(rows({1, 256}) == before + 128);
}

TEST_CASE("Targets that are none are refused", "[targets]") {
  const Fixture f;
  const Transformer transformer = f.transformer({64, false, 1});
  const auto rotation = f.rotation(transformer);
  for (const std::vector<std::int64_t>& targets :
       std::vector<std::vector<std::int64_t>>{{0}, {257}, {3, 3}, {4, 2}, {-1, 5}}) {
    const std::string message = tests::message_of<InputError>([&] {
      transformer.token_nll(std::vector<Sequence>{{f.ids, 1, rotation.get(), targets}});
    });
    CHECK_THAT(message, tests::ContainsSubstring("targets must be ascending positions from 1 to 256"));
  }
}

}  // namespace
}  // namespace longrope::model
