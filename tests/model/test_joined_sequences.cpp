// Sequences that go through the layers together: the bits of each are those it has alone.
#include <cmath>
#include <cstring>
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

using kernels::Precision;

/// A tiny model with tables of different strengths.
class Fixture {
 public:
  explicit Fixture(Precision precision) : backend_(precision) {
    tests::write_tiny_checkpoint(directory_.path(), shape_);
    config_ = read_model_config(directory_.path());
    files_ = std::make_unique<TensorFiles>(directory_.path());
  }

  Transformer transformer(const WindowLayout& layout) const { return {config_, *files_, backend_, layout}; }
  const tests::WrappingBackend& backend() const { return backend_; }
  tests::WrappingBackend& backend() { return backend_; }
  const ModelConfig& config() const { return config_; }
  std::vector<std::int32_t> ids(std::int64_t tokens, std::uint64_t seed) const {
    return tests::random_ids(tokens, shape_.vocabulary, seed);
  }
  std::vector<std::unique_ptr<kernels::RotationTable>> rotations(const Transformer& transformer, std::int64_t count,
                                                                 std::int64_t tokens) const {
    std::vector<std::unique_ptr<kernels::RotationTable>> made;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::vector<double> factors(static_cast<std::size_t>(config_.rope.pairs()), 1.0 + static_cast<double>(i));
      const auto table = RopeTable::from_factors(config_.rope, factors, 1.0 + 0.1 * static_cast<double>(i), i);
      made.push_back(transformer.rotation(table, kernels::RotationPrecision::exact, tokens));
    }
    return made;
  }

 private:
  tests::ScratchDirectory directory_;
  tests::TinyShape shape_;
  tests::WrappingBackend backend_;
  ModelConfig config_;
  std::unique_ptr<TensorFiles> files_;
};

bool has_bf16() {
  return tests::message_of<InputError>([] { kernels::make_cpu_backend(Precision::bf16); }).empty();
}

TEST_CASE("A sequence's bits do not depend on those that go with it", "[joined]") {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 && !has_bf16()) continue;
    const Fixture f(precision);
    const Transformer alone = f.transformer({1024, false, 1});
    for (const std::int64_t tokens : {2, 14, 33, 257, 700}) {
      const std::vector<std::vector<std::int32_t>> texts{f.ids(tokens, 1), f.ids(tokens, 2), f.ids(tokens, 3)};
      const auto rotations = f.rotations(alone, 4, tokens);
      std::vector<Sequence> sequences;  // some share a text, some a table, and each scores from elsewhere
      for (std::size_t n = 0; n < 9; ++n) {
        const std::int64_t first = 1 + static_cast<std::int64_t>(n) * (tokens - 2) / 8;
        sequences.push_back({texts[n / 2 % 3], first, rotations[n % 4].get()});
      }
      std::vector<NllSum> expected;
      for (const Sequence& s : sequences) expected.push_back(alone.score(s.ids, s.first_scored, *s.rotation));
      if (tokens > 2) {  // tables matter beyond position 0
        CHECK(alone.score(texts[0], 1, *rotations[1]).nll_nats != expected[0].nll_nats);
      }
      for (const WindowLayout layout : {WindowLayout{1024, false, 8}, WindowLayout{256, false, 9},
                                        WindowLayout{300, true, 3}, WindowLayout{1, false, 2}}) {
        if (layout.chunk_tokens == 1 && tokens > 33) continue;  // a product a position: slow
        const Transformer joined = f.transformer(layout);
        for (const std::size_t count : {1U, 2U, 3U, 8U, 9U}) {
          CAPTURE(static_cast<int>(precision), tokens, layout.chunk_tokens, layout.hidden_on_host, count);
          const auto sums = joined.score(std::span(sequences).first(count));
          REQUIRE(sums.size() == count);
          for (std::size_t n = 0; n < count; ++n) {
            CAPTURE(n);
            CHECK(std::isfinite(sums[n].nll_nats));
            CHECK(sums[n].nll_nats == expected[n].nll_nats);
            CHECK(sums[n].tokens == tokens - sequences[n].first_scored);
          }
        }
      }
    }
  }
}

TEST_CASE("Layer 0 projects a window once for all its tables", "[joined]") {
  const Fixture f(Precision::f32);
  const Transformer transformer = f.transformer({1024, false, 4});
  const auto ids = f.ids(101, 1);
  const auto others = f.ids(101, 2);
  const auto rotations = f.rotations(transformer, 4, 101);
  const std::int64_t features = (f.config().heads + 2 * f.config().kv_heads) * f.config().head_dim;
  const auto qkv_rows = [&](const std::vector<Sequence>& sequences) {
    const std::int64_t before = f.backend().projected_rows(features);
    transformer.score(sequences);
    return f.backend().projected_rows(features) - before;
  };
  const std::int64_t layers = f.config().layers;
  CHECK(qkv_rows({{ids, 1, rotations[0].get()}}) == layers * 100);
  CHECK(qkv_rows({{ids, 1, rotations[0].get()}, {ids, 1, rotations[1].get()}, {ids, 1, rotations[2].get()}}) ==
        100 + (layers - 1) * 300);
  CHECK(qkv_rows({{ids, 1, rotations[0].get()}, {others, 1, rotations[1].get()}, {ids, 1, rotations[2].get()}}) ==
        200 + (layers - 1) * 300);
}

TEST_CASE("The last layer does nothing more for rows that nobody reads", "[joined]") {
  const Fixture f(Precision::f32);
  const Transformer transformer = f.transformer({64, false, 1});
  const auto ids = f.ids(257, 1);
  const auto rotations = f.rotations(transformer, 1, 257);
  const std::int64_t features = 2 * 48;  // of gate and up
  const auto rows = [&](std::int64_t first_scored) {
    const std::int64_t before = f.backend().projected_rows(features);
    transformer.score(ids, first_scored, *rotations[0]);
    return f.backend().projected_rows(features) - before;
  };
  const std::int64_t layers = f.config().layers;
  CHECK(rows(1) == layers * 256);
  CHECK(rows(64) == layers * 256);  // row 63 predicts it
  CHECK(rows(65) == layers * 256 - 64);
  CHECK(rows(130) == layers * 256 - 128);
  CHECK(rows(256) == layers * 256 - 192);
}

TEST_CASE("Attention's chunks are those of a full pass where its bits belong to them", "[joined]") {
  using Chunks = std::vector<std::pair<std::int64_t, std::int64_t>>;
  Fixture f(Precision::f32);
  for (const bool dependent : {false, true}) {
    if (dependent) f.backend().make_rows_dependent();
    bool constant = true;
    for (const auto& [layout, tokens] : {std::pair{WindowLayout{1024, false, 4}, 700},
                                         {WindowLayout{300, false, 3}, 257},
                                         {WindowLayout{300, true, 3}, 98},
                                         {WindowLayout{7, false, 4}, 14}}) {
      const Transformer transformer = f.transformer(layout);
      const auto rotations = f.rotations(transformer, 1, tokens);
      std::vector<std::vector<std::int32_t>> texts;
      std::vector<Sequence> sequences;
      for (std::int64_t n = 0; n < layout.max_sequences; ++n) texts.push_back(f.ids(tokens, 1 + n));
      for (const auto& text : texts) sequences.push_back({text, 1, rotations[0].get()});
      f.backend().take_attention_chunks();
      transformer.score(sequences);
      const auto full = f.backend().take_attention_chunks();
      REQUIRE(full.size() == sequences.size());
      const Chunks expected = full.begin()->second;
      std::int64_t position = 0;
      for (const auto& [rows, first] :
           Chunks(expected.begin(), expected.begin() + std::ssize(expected) / f.config().layers)) {
        CHECK(first == position);
        CHECK(rows * layout.max_sequences <= layout.chunk_tokens + layout.max_sequences);
        position += rows;
      }
      CHECK(position == tokens - 1);
      for (std::size_t count = 1; count <= sequences.size(); ++count) {
        transformer.score(std::span(sequences).first(count));
        for (const auto& [kv, chunks] : f.backend().take_attention_chunks()) {
          CAPTURE(layout.chunk_tokens, tokens, count);
          if (dependent) CHECK(chunks == expected);
          constant = constant && chunks == expected;
        }
      }
    }
    CHECK(constant == dependent);  // the CPU fills its products instead
  }
}

TEST_CASE("Where products' rows depend on one another sequences go alone", "[joined]") {
  Fixture f(Precision::f32);
  f.backend().make_rows_dependent();
  CHECK(f.transformer({1024, false, 8}).sequences_at_once(100) == 10);
  f.backend().make_rows_dependent(false);
  CHECK(f.transformer({1024, false, 8}).sequences_at_once(100) == 1);
}

TEST_CASE("How many sequences a layout has room for", "[joined]") {
  const Fixture f(Precision::f32);
  const Transformer alone = f.transformer({1024, false, 1});
  CHECK(alone.sequences_at_once(14) == 1);
  const Transformer joined = f.transformer({1024, false, 8});
  CHECK(joined.sequences_at_once(2048) == 8);
  CHECK(joined.sequences_at_once(129) == 8);
  CHECK(joined.sequences_at_once(65) == 16);
  CHECK(joined.sequences_at_once(2) == 1024);
}

TEST_CASE("Sequences that cannot go together are refused", "[joined]") {
  const Fixture f(Precision::f32);
  const Transformer transformer = f.transformer({1024, false, 4});
  const auto ids = f.ids(33, 1);
  const auto longer = f.ids(34, 1);
  const auto rotations = f.rotations(transformer, 1, 33);
  const auto refusal = [&](const Sequence& second) {
    const std::vector<Sequence> sequences{{ids, 1, rotations[0].get()}, second};
    return tests::message_of<InputError>([&] { transformer.score(sequences); });
  };
  CHECK(transformer.score(std::span<const Sequence>{}).empty());
  CHECK_THAT(refusal({longer, 1, rotations[0].get()}), tests::ContainsSubstring("of equal length but got 33 and 34"));
  CHECK_THAT(refusal({ids, 33, rotations[0].get()}),
             tests::ContainsSubstring("first_scored < tokens but got 33 and 33"));
  const auto shorter = f.rotations(transformer, 1, 31);
  CHECK_THAT(refusal({ids, 1, shorter[0].get()}), tests::ContainsSubstring("31 positions but needs 32"));
}

}  // namespace
}  // namespace longrope::model
