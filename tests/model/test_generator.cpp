// Greedy decoding with K and V held. The judge is Transformer::score, which knows neither: of all one-token
// continuations of a sequence the greedy one has the lowest NLL.
#include <tbb/global_control.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "kernels/error.hpp"
#include "model/generator.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/tiny_checkpoint.hpp"
#include "tests/support/wrapping_backend.hpp"

namespace longrope::model {
namespace {

using kernels::Precision;
using Ids = std::vector<std::int32_t>;

bool has_bf16() {
  return tests::message_of<InputError>([] { kernels::make_cpu_backend(Precision::bf16); }).empty();
}

class Fixture {
 public:
  explicit Fixture(tests::TinyShape shape = {}, Precision precision = Precision::f32,
                   WindowLayout layout = {64, false, 8})
      : shape_(std::move(shape)), backend_(precision) {
    tests::write_tiny_checkpoint(directory_.path(), shape_);
    config_ = read_model_config(directory_.path());
    transformer_ = std::make_unique<Transformer>(config_, TensorFiles(directory_.path()), backend_, layout);
    const std::vector<double> factors(static_cast<std::size_t>(config_.rope.pairs()), 3.0);
    const auto table = RopeTable::from_factors(config_.rope, factors, 1.1, 2);
    rotation_ = transformer_->rotation(table, kernels::RotationPrecision::exact, kPositions);
  }

  Generator generator(std::int64_t capacity = kPositions) const { return {*transformer_, *rotation_, capacity}; }
  const Transformer& transformer() const { return *transformer_; }
  const kernels::RotationTable& rotation() const { return *rotation_; }
  tests::WrappingBackend& backend() { return backend_; }
  const ModelConfig& config() const { return config_; }
  Ids ids(std::int64_t tokens, std::uint64_t seed) const { return tests::random_ids(tokens, shape_.vocabulary, seed); }
  double score(const Ids& all, std::int64_t first_scored) const {
    return transformer_->score(all, first_scored, *rotation_).nll_nats;
  }

  /// The greedy continuation, by scoring every possible next token.
  Ids greedy(Ids sequence, std::int64_t count) const {
    const std::size_t prompt = sequence.size();
    for (std::int64_t i = 0; i < count; ++i) {
      std::vector<Ids> all(static_cast<std::size_t>(shape_.vocabulary), sequence);
      std::vector<Sequence> sequences;
      for (std::size_t v = 0; v < all.size(); ++v) {
        all[v].push_back(static_cast<std::int32_t>(v));
        sequences.push_back({all[v], static_cast<std::int64_t>(sequence.size()), rotation_.get()});
      }
      std::size_t best = 0;
      std::vector<NllSum> sums;
      for (std::size_t first = 0; first < sequences.size(); first += 8) {
        const auto part = transformer_->score(std::span(sequences).subspan(first, 8));
        sums.insert(sums.end(), part.begin(), part.end());
      }
      for (std::size_t v = 1; v < sums.size(); ++v) {
        if (sums[v].nll_nats < sums[best].nll_nats) best = v;
      }
      sequence.push_back(static_cast<std::int32_t>(best));
    }
    return {sequence.begin() + static_cast<std::ptrdiff_t>(prompt), sequence.end()};
  }

  static constexpr std::int64_t kPositions = 400;

 private:
  tests::ScratchDirectory directory_;
  tests::TinyShape shape_;
  tests::WrappingBackend backend_;
  ModelConfig config_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<kernels::RotationTable> rotation_;
};

/// Every architecture, with what sets it apart.
std::vector<tests::TinyShape> architectures() {
  std::vector<tests::TinyShape> shapes(8);
  shapes[1].attention_bias = true;
  shapes[1].tied = true;
  shapes[2].kind = "mistral";
  shapes[2].sliding_window = 20;
  shapes[3].kind = "qwen2";
  shapes[3].tied = true;
  shapes[4].kind = "qwen2";
  shapes[4].sliding_window = 33;
  shapes[5].kind = "qwen3";
  shapes[5].kv_heads = 1;
  shapes[6].kind = "phi3";
  shapes[6].partial_rotary = 0.5;
  shapes[7].kind = "phi3";
  shapes[7].kv_heads = 4;
  shapes[7].sliding_window = 47;
  return shapes;
}

TEST_CASE("Decoding is the teacher-forced argmax of the model, whatever the architecture", "[generator]") {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 && !has_bf16()) continue;
    for (const tests::TinyShape& shape : architectures()) {
      const Fixture f(shape, precision);
      if (shape.sliding_window > 0) CHECK(f.config().sliding_window.back() == shape.sliding_window);
      for (const std::int64_t tokens : {1, 31, 33, 257}) {
        CAPTURE(static_cast<int>(precision), shape.kind, shape.sliding_window, shape.tied, tokens);
        const Ids prompt = f.ids(tokens, 5);
        const std::int64_t count = tokens == 257 ? 3 : 6;
        Generator generator = f.generator();
        const Ids found = generator.generate(prompt, count, {});
        CHECK(found == f.greedy(prompt, count));
        CHECK(generator.finite());
        CHECK(generator.computed_tokens() == tokens + count - 1);
      }
    }
  }
}

TEST_CASE("A generator's score has the bits of the layer-major pass", "[generator]") {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 && !has_bf16()) continue;
    for (const tests::TinyShape& shape : architectures()) {
      for (const WindowLayout layout :
           {WindowLayout{64, false, 1}, WindowLayout{31, false, 1}, WindowLayout{1024, false, 1}}) {
        const Fixture f(shape, precision, layout);
        for (const std::int64_t tokens : {2, 31, 64, 65, 66, 129, 300}) {
          const Ids all = f.ids(tokens, 6);
          for (const std::int64_t first : {std::int64_t{1}, tokens / 2, tokens - 1}) {
            if (first < 1) continue;
            CAPTURE(static_cast<int>(precision), shape.kind, layout.chunk_tokens, tokens, first);
            Generator generator = f.generator();
            const NllSum sum = generator.score(all, first);
            CHECK(sum.nll_nats == f.score(all, first));
            CHECK(sum.tokens == tokens - first);
          }
        }
      }
    }
  }
}

TEST_CASE("What is held is reused, and gives the bits of a computation from scratch", "[generator]") {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 && !has_bf16()) continue;
    for (const tests::TinyShape& shape : architectures()) {
      const Fixture f(shape, precision);
      Generator reused = f.generator();
      const Ids base = f.ids(301, 7);
      struct Step {
        std::int64_t kept;   // of base
        std::int64_t other;  // tokens that follow, of another text
        std::int64_t scored;
      };
      std::int64_t before = 0;
      std::int64_t shared = 0;
      // Extended, cut back inside a chunk and at its border, to an odd and an even row, to nothing, and extended again.
      for (const Step& s : {Step{100, 0, 5},
                            {150, 0, 3},
                            {150, 20, 10},
                            {65, 90, 4},
                            {64, 90, 4},
                            {33, 40, 1},
                            {1, 3, 2},
                            {301, 0, 1},
                            {300, 1, 1},
                            {299, 60, 55}}) {
        Ids ids(base.begin(), base.begin() + s.kept);
        const Ids others = f.ids(s.other, 100 + static_cast<std::uint64_t>(s.kept));
        ids.insert(ids.end(), others.begin(), others.end());
        const auto tokens = static_cast<std::int64_t>(ids.size());
        CAPTURE(static_cast<int>(precision), shape.kind, shape.sliding_window, s.kept, s.other);
        CHECK(reused.score(ids, tokens - s.scored).nll_nats == f.score(ids, tokens - s.scored));
        const std::int64_t kept = std::min({shared, s.kept, tokens - s.scored - 1});
        // Another text may agree with the first for a token or two by chance: never fewer rows are kept than this.
        CHECK(reused.computed_tokens() - before <= tokens - 1 - kept);
        CHECK(reused.computed_tokens() - before >= s.scored);
        before = reused.computed_tokens();
        shared = std::min(s.kept, tokens - 1);
        Generator fresh = f.generator();
        CHECK(reused.generate(ids, 4, {}) == fresh.generate(ids, 4, {}));
        before = reused.computed_tokens();
      }
    }
  }
}

TEST_CASE("A prompt that is held already costs one row a token", "[generator]") {
  const Fixture f;
  Generator generator = f.generator();
  const Ids prompt = f.ids(200, 8);
  const Ids first = generator.generate(prompt, 5, {});
  CHECK(generator.computed_tokens() == 204);
  CHECK(generator.generate(prompt, 5, {}) == first);
  CHECK(generator.computed_tokens() == 204 + 5);  // the prompt's last row and four of five tokens
  Ids all = prompt;
  all.insert(all.end(), first.begin(), first.end());
  CHECK(generator.score(all, 200).nll_nats == f.score(all, 200));
  CHECK(generator.computed_tokens() == 209 + 5);
  CHECK(generator.generate(prompt, 0, {}).empty());
  CHECK(generator.computed_tokens() == 214);
}

TEST_CASE("Where rows depend on each other, whole chunks are reused and nothing else", "[generator]") {
  Fixture f;
  f.backend().make_rows_dependent();
  Generator generator = f.generator();  // chunks of 64
  const Ids base = f.ids(200, 9);
  generator.generate(base, 3, {});
  CHECK(generator.computed_tokens() == 202);
  const auto rows_of = [&](const Ids& ids, std::int64_t first) {
    const std::int64_t before = generator.computed_tokens();
    CHECK(generator.score(ids, first).nll_nats == f.score(ids, first));
    return generator.computed_tokens() - before;
  };
  CHECK(rows_of(base, 199) == 199 - 192);                               // 192 rows are three chunks
  CHECK(rows_of(base, 150) == 199 - 128);                               // the row of target 150 is in the third
  CHECK(rows_of({base.begin(), base.begin() + 129}, 128) == 128 - 64);  // row 127 is needed
  CHECK(rows_of(base, 199) == 199 - 128);                               // the third had been cut away
  Ids longer = base;
  longer.push_back(1);
  CHECK(rows_of(longer, 200) == 200 - 192);
}

TEST_CASE("Decoding ends before a stop id", "[generator]") {
  const Fixture f;
  const Ids prompt = f.ids(40, 10);
  Generator generator = f.generator();
  const Ids all = generator.generate(prompt, 12, {});
  REQUIRE(all.size() == 12);
  for (const std::size_t at : {std::size_t{0}, std::size_t{5}, std::size_t{11}}) {
    const auto first = static_cast<std::size_t>(std::find(all.begin(), all.end(), all[at]) - all.begin());
    const Ids stop{-5, all[at]};
    CHECK(generator.generate(prompt, 12, stop) == Ids(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(first)));
  }
  CHECK(generator.generate(prompt, 1, {}) == Ids(all.begin(), all.begin() + 1));
}

TEST_CASE("What does not fit a generator is refused and harms nothing", "[generator][errors]") {
  const Fixture f;
  Generator generator = f.generator(50);
  CHECK(generator.capacity_tokens() == 50);
  const Ids prompt = f.ids(45, 11);
  const Ids longer = f.ids(51, 11);
  const auto refusal = [](const auto& call) { return tests::message_of<InputError>(call); };
  const Ids found = generator.generate(prompt, 5, {});
  CHECK(found.size() == 5);
  CHECK_THAT(refusal([&] { generator.generate(prompt, 6, {}); }),
             tests::ContainsSubstring("capacity of 50 tokens but they have 45 and 6"));
  CHECK_THAT(refusal([&] { generator.generate(prompt, std::numeric_limits<std::int64_t>::max(), {}); }),
             tests::ContainsSubstring("capacity of 50 tokens"));
  CHECK_THAT(refusal([&] { generator.generate(prompt, -1, {}); }), tests::ContainsSubstring("45 and -1"));
  CHECK_THAT(refusal([&] { generator.generate({}, 1, {}); }),
             tests::ContainsSubstring("at least 1 token but is empty"));
  CHECK_THAT(refusal([&] { generator.score(longer, 1); }),
             tests::ContainsSubstring("capacity of 50 tokens but has 51"));
  CHECK_THAT(refusal([&] { generator.score(prompt, 45); }), tests::ContainsSubstring("but got 45 and 45"));
  CHECK_THAT(refusal([&] { generator.score(prompt, 0); }), tests::ContainsSubstring("but got 0 and 45"));
  CHECK_THAT(refusal([&] { f.generator(401); }), tests::ContainsSubstring("capacity of 401 tokens but has 400"));
  CHECK_THAT(refusal([&] { f.generator(0); }), tests::ContainsSubstring("at least 1 token but got 0"));
  Ids foreign = prompt;
  foreign[20] = 96;
  CHECK_THROWS_AS(generator.generate(foreign, 1, {}), InputError);
  CHECK(generator.generate(prompt, 5, {}) == found);
}

TEST_CASE("A device that fails leaves the generator able to start again", "[generator][errors]") {
  Fixture f;
  Generator generator = f.generator();
  const Ids prompt = f.ids(150, 12);
  const Ids found = generator.generate(prompt, 4, {});
  const Ids other = f.ids(150, 13);
  f.backend().fail_after(3, false);  // in the second chunk
  CHECK_THROWS_AS(generator.generate(other, 4, {}), RuntimeError);
  f.backend().recover();
  CHECK(generator.generate(prompt, 4, {}) == found);
  Generator fresh = f.generator();
  CHECK(generator.generate(other, 4, {}) == fresh.generate(other, 4, {}));
}

TEST_CASE("Logits that are not finite end a generation and are no harm to the next", "[generator]") {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 && !has_bf16()) continue;
    const Fixture f({}, precision);
    const Ids prompt = f.ids(37, 14);
    Generator fresh = f.generator();
    const Ids found = fresh.generate(prompt, 4, {});
    // A table whose angles are fine and whose amplitude overflows the scores.
    const std::vector<double> factors(static_cast<std::size_t>(f.config().rope.pairs()), 1.0);
    const auto table = RopeTable::from_factors(f.config().rope, factors, 1e30, 0);
    const auto overflow = f.transformer().rotation(table, kernels::RotationPrecision::exact, Fixture::kPositions);
    Generator broken(f.transformer(), *overflow, 100);
    CHECK(broken.generate(prompt, 4, {}).empty());
    CHECK_FALSE(broken.finite());
    CHECK(std::isnan(broken.score(prompt, 3).nll_nats));
    CHECK_FALSE(broken.finite());
    CHECK(fresh.finite());
    CHECK(fresh.generate(prompt, 4, {}) == found);
  }
}

TEST_CASE("Generators on several threads, and one on several, give the same ids", "[generator]") {
  const Fixture f;
  std::vector<Ids> prompts;
  std::vector<Ids> expected;
  for (std::uint64_t i = 0; i < 4; ++i) {
    prompts.push_back(f.ids(120 + 31 * static_cast<std::int64_t>(i), 20 + i));
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 1);
    Generator generator = f.generator();
    expected.push_back(generator.generate(prompts.back(), 8, {}));
  }
  for (const std::size_t threads : {std::size_t{1}, std::size_t{2}}) {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    std::vector<Ids> found(4);
    std::vector<std::thread> workers;
    for (std::size_t i = 0; i < 4; ++i) {
      workers.emplace_back([&, i] {
        Generator generator = f.generator();
        found[i] = generator.generate(prompts[i], 8, {});
      });
    }
    for (std::thread& worker : workers) worker.join();
    CHECK(found == expected);
  }
}

}  // namespace
}  // namespace longrope::model
