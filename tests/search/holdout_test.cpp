#include "search/holdout.hpp"

#include <cmath>

#include "kernels/error.hpp"
#include "tests/search/search_space.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

namespace {

std::vector<model::Window> windows_of(std::size_t count) {
  std::vector<model::Window> windows(count);
  for (std::size_t w = 0; w < count; ++w) windows[w].document = static_cast<std::int64_t>(w);
  return windows;
}

/// A row with these mean NLLs, 100 tokens a window.
StoreHoldoutRow row(const std::string& name, const std::vector<double>& nats) {
  StoreHoldoutRow r{name, 0, {}};
  double sum = 0.0;
  for (const double x : nats) {
    r.result.windows.push_back({100.0 * x, 100});
    sum += x / static_cast<double>(nats.size());
  }
  r.result.objectives = {std::exp(sum)};
  return r;
}

model::Corpus corpus_of(const std::vector<std::vector<std::int32_t>>& documents) {
  model::Corpus corpus;
  for (const auto& tokens : documents)
    corpus.documents.push_back({"d" + std::to_string(corpus.documents.size()), tokens});
  return corpus;
}

model::Window window_at(std::int64_t document, std::int64_t first, std::int64_t length) {
  model::Window window;
  window.document = document;
  window.first_token = first;
  window.length = length;
  return window;
}

}  // namespace

TEST_CASE("a gain that all documents share is significant, one that some make is not") {
  const auto windows = windows_of(4);
  const auto yarn = row("yarn", {3.0, 3.2, 2.8, 3.1});
  const double searched[] = {std::exp(2.9), std::exp(3.025)};
  const auto good = judge_holdout({row("best", {2.95, 3.14, 2.75, 3.05}), yarn}, windows, searched);
  REQUIRE(good.to_baseline);
  CHECK(good.to_baseline->significant);
  CHECK(good.to_baseline->difference.clusters == 4);
  CHECK(std::abs(good.to_baseline->difference.nats_per_token + 0.0525) < 1e-12);
  CHECK(contains(good.verdict, "is significant at 95%"));
  CHECK_FALSE(good.to_runner_up);

  const auto luck = judge_holdout({row("best", {2.5, 3.3, 2.9, 3.2}), yarn}, windows, searched);
  CHECK_FALSE(luck.to_baseline->significant);
  CHECK(contains(luck.verdict, "NOT significant"));
}

TEST_CASE("a search that overfits its windows is told so") {
  const auto windows = windows_of(3);
  const double searched[] = {std::exp(2.5), std::exp(3.0)};  // a great gain where it searched
  const auto small = judge_holdout({row("best", {2.99, 3.18, 2.79}), row("pi", {3.0, 3.2, 2.8})}, windows, searched);
  CHECK(small.overfitted);
  CHECK(contains(small.verdict, "the search overfitted its windows"));
  const auto worse = judge_holdout({row("best", {3.11, 3.29, 2.9}), row("pi", {3.0, 3.2, 2.8})}, windows, searched);
  CHECK(worse.overfitted);
  CHECK(contains(worse.verdict, "significantly worse than pi"));
  CHECK(contains(worse.verdict, "none of which holds"));
}

TEST_CASE("the baseline that counts is the best on the held-out text") {
  const auto windows = windows_of(2);
  const double searched[] = {std::exp(2.9), std::exp(3.0), std::exp(3.1), std::exp(2.95)};
  const auto report = judge_holdout(
      {row("best", {2.9, 2.9}), row("pi", {2.95, 2.96}), row("ntk", {3.4, 3.4}), row("runner_up", {2.8, 2.8})}, windows,
      searched);
  CHECK(report.to_baseline->to == "pi");
  CHECK(report.to_runner_up->to == "runner_up");
  CHECK(report.to_runner_up->difference.nats_per_token > 0.0);
}

TEST_CASE("what cannot be said is not said") {
  const double searched[] = {std::exp(2.9), std::exp(3.0)};
  const auto one = judge_holdout({row("best", {2.9}), row("pi", {3.0})}, windows_of(1), searched);
  CHECK_FALSE(one.to_baseline->significant);
  CHECK(contains(one.verdict, "from one piece nobody can say"));
  const double nan = std::nan("");
  const auto bad = judge_holdout({row("best", {nan, nan}), row("pi", {3.0, 3.0})}, windows_of(2), searched);
  CHECK_FALSE(bad.to_baseline);
  CHECK(contains(bad.verdict, "No verdict"));
  const double same[] = {std::exp(3.0), std::exp(3.0)};
  const auto none = judge_holdout({row("best", {3.0, 3.1}), row("pi", {3.0, 3.1})}, windows_of(2), same);
  CHECK_FALSE(none.to_baseline->significant);
  CHECK(none.verdict == "The search found nothing better than pi.");
}

TEST_CASE("held-out text that the search sees is refused") {
  const auto search = corpus_of({{1, 2, 3, 4, 5, 6, 7, 8}, {9, 9, 9, 9}});
  const auto with_tokens = [](const model::Corpus& corpus, const std::vector<model::Window>& windows) {
    ObjectiveWindows made;
    made.windows = windows;
    for (const model::Window& window : windows) made.tokens.push_back(model::window_tokens(corpus, window));
    made.needle_first.assign(windows.size(), -1);
    return made;
  };
  const ObjectiveWindows searched = with_tokens(search, {window_at(0, 0, 4), window_at(0, 4, 4)});
  const auto refusal = [&](const model::Corpus& holdout, const model::Window& window) {
    return message_of<InputError>([&] { require_new_text(search, searched, holdout, with_tokens(holdout, {window})); });
  };
  CHECK(refusal(corpus_of({{8, 7, 6, 5, 4}}), window_at(0, 0, 4)).empty());
  CHECK(contains(refusal(corpus_of({{5, 5, 5, 5}, {9, 9, 9, 9}}), window_at(0, 0, 4)), "but d1 is the same as d1"));
  CHECK(contains(refusal(corpus_of({{0, 5, 6, 7, 8, 0}}), window_at(0, 1, 4)), "are a window of the search"));
  CHECK(refusal(corpus_of({{0, 5, 6, 7, 8, 0}}), window_at(0, 0, 4)).empty());
  ObjectiveWindows needle = searched;  // its haystack is no document's, its words are the same
  for (model::Window& window : needle.windows) window.document = -1;
  needle.needle_first = {1, 1};
  CHECK(contains(message_of<InputError>([&] { require_new_text(search, searched, corpus_of({{1}}), needle); }),
                 "a needle in its haystack is a window of the search"));
}
