// Which tokens are key: against a choice made here from whole forward passes, token by token.
#include "search/key_tokens.hpp"

#include <cmath>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/objective_windows.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/tiny_checkpoint.hpp"
#include "tests/support/wrapping_backend.hpp"

namespace longrope::search {
namespace {

using test::contains;
using test::message_of;

struct Fixture {
  Fixture() {
    tests::write_tiny_checkpoint(directory.path(), shape);
    config = model::read_model_config(directory.path());
    const model::TensorFiles files(directory.path());
    backend = std::make_shared<tests::WrappingBackend>();
    transformer = std::make_shared<model::Transformer>(config, files, *backend, model::WindowLayout{256, false, 4});
    std::vector<DeviceLane> list;
    list.push_back({"only", backend, transformer, 2, true});
    lanes = std::make_unique<DeviceLanes>(std::move(list));
    corpus.documents.push_back({"a", tests::random_ids(900, shape.vocabulary, 5)});
    corpus.documents.push_back({"b", tests::random_ids(500, shape.vocabulary, 6)});
  }

  std::vector<std::vector<std::int64_t>> choose(const ObjectiveWindows& made, const KeyTokenOptions& options) const {
    return choose_key_tokens(*lanes, made.windows, made.tokens, kernels::RotationPrecision::exact, options, {},
                             nullptr);
  }
  double nll(std::span<const std::int32_t> ids, const char* rope, std::int64_t scale_length) const {
    const auto table = model::make_rope_table(model::RopeSpec::parse(rope), config, scale_length);
    const auto rotation = transformer->rotation(table, kernels::RotationPrecision::exact, std::ssize(ids));
    return transformer->score(ids, std::ssize(ids) - 1, *rotation).nll_nats;  // of the last token
  }

  tests::ScratchDirectory directory;
  tests::TinyShape shape;
  model::ModelConfig config;
  std::shared_ptr<tests::WrappingBackend> backend;
  std::shared_ptr<model::Transformer> transformer;
  std::unique_ptr<DeviceLanes> lanes;
  model::Corpus corpus;
};

TEST_CASE("Key tokens are those that the long context helps, and well", "[key]") {
  const Fixture f;
  for (const auto& [protocol, length, context, limit] :
       {std::tuple("window", 150, 64, 0), std::tuple("half", 133, 32, 0), std::tuple("window", 65, 64, 0),
        std::tuple("window", 150, 32, 100), std::tuple("half", 133, 16, 96), std::tuple("window", 150, 64, 150)}) {
    KeyTokenOptions options;
    options.context = context;
    options.long_context = limit != 0 ? limit : KeyTokenOptions::kWholeWindow;
    options.rope = "yarn";
    options.lsd_nats = 0.05;  // random weights hardly use what is far
    options.lcl_nats = -4.6;
    const ObjectiveWindows made = make_plain_windows(f.corpus, model::Protocol::parse(protocol), length, 3);
    const auto keys = f.choose(made, options.resolved(f.config.rope.original_length));
    REQUIRE(keys.size() == 3);
    std::size_t found = 0;
    for (std::size_t w = 0; w < 3; ++w) {
      const std::span<const std::int32_t> ids(made.tokens[w]);
      std::vector<std::int64_t> expected;
      // The block that begins at a multiple of the step behind K ends its context where the block ends.
      const auto begin_of = [&](std::int64_t p, std::int64_t tokens) -> std::int64_t {
        if (p < tokens) return 0;
        const std::int64_t step = tokens / 4;
        return std::min<std::int64_t>(tokens + ((p - tokens) / step + 1) * step, length) - tokens;
      };
      for (std::int64_t p = context; p < length; ++p) {
        if (p < made.windows[w].first_scored) continue;
        const std::int64_t longest = limit != 0 ? limit : length;
        const auto part = [&](std::int64_t from) {
          return ids.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(p + 1 - from));
        };
        const double far = -f.nll(part(begin_of(p, longest)), "yarn", longest),
                     near = -f.nll(part(begin_of(p, context)), "config", 64);
        if (far - near > options.lsd_nats && far > options.lcl_nats) expected.push_back(p);
      }
      CAPTURE(protocol, length, context, limit, w);
      CHECK(keys[w] == expected);
      found += expected.size();
    }
    if (length > 100) CHECK(found > 3);
    if (length > 100) CHECK(found < 200);
  }
}

TEST_CASE("Key tokens need a window beyond the short context, and thresholds that are numbers", "[key]") {
  const Fixture f;
  KeyTokenOptions options;
  CHECK(options.resolved(64).context == 8);
  CHECK(options.resolved(64).long_context == 64);
  CHECK(options.resolved(16).context == 4);
  CHECK(options.resolved(131072).context == 4096);
  options.context = 64;
  options.long_context = KeyTokenOptions::kWholeWindow;
  const ObjectiveWindows made = make_plain_windows(f.corpus, {}, 64, 2);
  CHECK(contains(message_of<InputError>([&] { f.choose(made, options.resolved(64)); }),
                 "windows must be longer than the short context of 64 tokens but have 64 (lower --key-context"));
  const auto refusal = [](KeyTokenOptions bad) { return message_of<InputError>([&] { bad.validate(); }); };
  options.context = 3;
  CHECK(contains(refusal(options), "[--key-context] must be at least 4"));
  options.context = options.long_context = 32;
  CHECK(contains(refusal(options), "[--key-context] must be less than the long context of 32 tokens but got 32"));
  options = {};
  options.lsd_nats = std::nan("");
  CHECK(contains(refusal(options), "[--key-lsd] must be a number"));
  options = {};
  options.lcl_nats = 0.0;
  CHECK(contains(refusal(options), "[--key-lcl] must be a number below 0"));
  options = {};
  options.rope = "yarrn";
  CHECK(!refusal(options).empty());
  options = {};
  options.lsd_nats = 1e3;  // none: the caller says what to do
  options.context = 32;
  for (const auto& keys : f.choose(made, options.resolved(64))) CHECK(keys.empty());
}

TEST_CASE("A stop request ends the choice of key tokens, a device that fails is an error", "[key]") {
  const Fixture f;
  KeyTokenOptions options;
  options.context = 32;
  options.long_context = KeyTokenOptions::kWholeWindow;
  const ObjectiveWindows made = make_plain_windows(f.corpus, {}, 100, 2);
  const std::atomic<bool> stop{true};
  CHECK_THROWS_AS(
      choose_key_tokens(*f.lanes, made.windows, made.tokens, kernels::RotationPrecision::exact, options, {}, &stop),
      Interrupted);
  f.backend->fail_after(2, false);
  CHECK(contains(message_of<RuntimeError>([&] { f.choose(made, options); }), "key tokens cannot be chosen"));
}

}  // namespace
}  // namespace longrope::search
