// Windows of the same tokens: one forward pass, the values and the price of each.
#include "search/window_passes.hpp"

#include <memory>
#include <numeric>

#include "search/perplexity_evaluator.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/tiny_checkpoint.hpp"
#include "tests/support/wrapping_backend.hpp"

namespace longrope::search {
namespace {

model::Window window_of(std::int64_t length, std::int64_t first_scored, std::vector<std::int64_t> targets) {
  model::Window window;
  window.length = length;
  window.first_scored = first_scored;
  window.targets = std::move(targets);
  return window;
}

TEST_CASE("What a shared pass scores is what any of its windows scores", "[passes]") {
  const std::vector<std::int32_t> text{1, 2, 3, 4, 5, 6, 7, 8}, other{1, 2, 3, 4, 5, 6, 7, 9};
  const std::vector<model::Window> windows{window_of(8, 5, {}), window_of(8, 1, {2, 6}),
                                           window_of(8, 1, {}), window_of(8, 1, {3, 5, 6}),
                                           window_of(8, 4, {}), window_of(8, 1, {4, 7})};
  const auto joined = [&](const std::vector<std::size_t>& which) {
    std::vector<model::Window> chosen;
    for (const std::size_t w : which) chosen.push_back(windows[w]);
    const auto passes = join_windows(chosen, std::vector(chosen.size(), text));
    REQUIRE(passes.size() == 1);
    CHECK(passes[0].windows.size() == which.size());
    return passes[0].scored;
  };
  CHECK(joined({0}).first_scored == 5);
  CHECK(joined({0, 4}).first_scored == 4);
  CHECK(joined({0, 2}).first_scored == 1);
  CHECK(joined({2, 1}).targets.empty());
  CHECK(joined({1, 2}).targets.empty());
  CHECK(joined({1, 2}).first_scored == 1);
  CHECK(joined({5, 4}).targets.empty());  // 4 is the first of both
  CHECK(joined({0, 1}).targets == std::vector<std::int64_t>{2, 5, 6, 7});
  CHECK(joined({1, 0}).targets == std::vector<std::int64_t>{2, 5, 6, 7});
  CHECK(joined({1, 3}).targets == std::vector<std::int64_t>{2, 3, 5, 6});

  const auto apart = join_windows(windows, std::vector{text, other, text, other, text, other});
  REQUIRE(apart.size() == 2);
  CHECK(apart[0].windows == std::vector<std::size_t>{0, 2, 4});
  CHECK(apart[1].windows == std::vector<std::size_t>{1, 3, 5});
  CHECK(apart[1].scored.targets == std::vector<std::int64_t>{2, 3, 4, 5, 6, 7});
}

TEST_CASE("Each window gets its own part of a pass", "[passes]") {
  const std::vector<double> nll{1, 2, 4, 8, 16, 32, 64};  // of targets 1 .. 7
  const model::Window all = window_of(8, 1, {});
  CHECK(sum_of_window(all, all, nll).nll_nats == 127);
  CHECK(sum_of_window(window_of(8, 6, {}), all, nll).nll_nats == 96);
  CHECK(sum_of_window(window_of(8, 1, {2, 7}), all, nll).nll_nats == 66);
  CHECK(sum_of_window(window_of(8, 1, {2, 7}), all, nll).tokens == 2);
  const model::Window some = window_of(8, 1, {2, 3, 6, 7});
  const std::vector<double> of_some{2, 4, 32, 64};
  CHECK(sum_of_window(window_of(8, 1, {3, 6}), some, of_some).nll_nats == 36);
  CHECK(sum_of_window(window_of(8, 6, {}), some, of_some).nll_nats == 96);
  CHECK_THROWS_AS(sum_of_window(window_of(8, 1, {4}), some, of_some), std::logic_error);
  CHECK_THROWS_AS(sum_of_window(all, all, of_some), std::logic_error);
}

TEST_CASE("Windows of the same tokens cost one forward pass and score as apart", "[passes]") {
  const tests::ScratchDirectory directory;
  const tests::TinyShape shape;
  tests::write_tiny_checkpoint(directory.path(), shape);
  const model::ModelConfig config = model::read_model_config(directory.path());
  const model::TensorFiles files(directory.path());
  const auto backend = std::make_shared<tests::WrappingBackend>();
  std::vector<DeviceLane> list;
  list.push_back({"only", backend,
                  std::make_shared<model::Transformer>(config, files, *backend, model::WindowLayout{256, false, 4}), 2,
                  true});
  const DeviceLanes lanes(std::move(list));
  model::Corpus corpus;
  corpus.documents.push_back({"random", tests::random_ids(400, shape.vocabulary, 5)});
  std::vector<model::RopeTable> tables;
  for (const double factor : {1.0, 2.0, 1e300})
    tables.push_back(model::RopeTable::from_factors(config.rope, std::vector<double>(4, factor), 1.0, 0));

  // Two blocks of three windows: all targets, then some of them.
  std::vector<model::Window> whole = model::make_windows(corpus, {}, 100, 3), keys = whole, both = whole;
  keys[0].targets = {3, 4, 50, 99};
  keys[1].targets = {99};
  keys[2].targets = {1, 20};
  both.insert(both.end(), keys.begin(), keys.end());
  const auto precision = kernels::RotationPrecision::exact;
  const PerplexityEvaluator together(lanes, corpus, both, precision), first(lanes, corpus, whole, precision),
      second(lanes, corpus, keys, precision);
  const auto run = [&](const PerplexityEvaluator& evaluator, std::size_t objectives, std::int64_t& calls) {
    const std::int64_t before = backend->attention_calls();
    std::size_t finished = 0;
    std::mutex mutex;
    auto results = evaluate_all(
        evaluator, tables, objectives,
        [&] {
          const std::lock_guard lock(mutex);
          ++finished;
        },
        nullptr);
    calls = backend->attention_calls() - before;
    CHECK(finished == tables.size() * evaluator.windows().size());
    return results;
  };
  std::int64_t calls_together = 0, calls_first = 0, calls_second = 0;
  const auto got = run(together, 2, calls_together), ppl = run(first, 1, calls_first),
             key = run(second, 1, calls_second);
  CHECK(calls_first > 0);
  CHECK(calls_together == calls_first);
  for (std::size_t t = 0; t < tables.size(); ++t) {
    for (std::size_t w = 0; w < 3; ++w) {
      CAPTURE(t, w);
      CHECK(got[t].windows[w].nll_nats == ppl[t].windows[w].nll_nats);
      CHECK(got[t].windows[w].tokens == 99);
      CHECK(got[t].windows[3 + w].nll_nats == key[t].windows[w].nll_nats);
      CHECK(got[t].windows[3 + w].tokens == std::ssize(keys[w].targets));
    }
    CHECK(got[t].objectives == std::vector<double>{ppl[t].first(), key[t].first()});
  }
  // One of a pass alone is scored alone.
  const std::vector<EvalTask> tasks{{0, 4}, {1, 0}, {1, 3}};
  const auto few = together.score(tables, tasks, {}, nullptr);
  CHECK(few[0].score.nll_nats == key[0].windows[1].nll_nats);
  CHECK(few[1].score.nll_nats == ppl[1].windows[0].nll_nats);
  CHECK(few[2].score.nll_nats == key[1].windows[0].nll_nats);

  double sum = 0.0;
  for (std::size_t w = 0; w < 6; ++w) sum += together.window_costs()[w];
  CHECK(std::abs(sum - 1.0) < 1e-12);
  CHECK(std::abs(together.window_costs()[0] - 1.0 / 6.0) < 1e-12);
  CHECK(together.tokens_sha256() != PerplexityEvaluator(
                                        lanes, corpus,
                                        [&] {
                                          std::vector<model::Window> others = both;
                                          others[3].targets = {3, 4, 51, 99};
                                          return others;
                                        }(),
                                        precision)
                                        .tokens_sha256());
}

}  // namespace
}  // namespace longrope::search
