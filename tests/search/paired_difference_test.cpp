// Perplexities of window scores and the paired difference, against sums done by hand.
#include "search/paired_difference.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "search/objective.hpp"
#include "search/perplexity_evaluator.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace longrope::search;
using longrope::model::Window;

std::vector<Window> windows_of(const std::vector<std::int64_t>& documents) {
  std::vector<Window> windows;
  for (const std::int64_t document : documents) windows.push_back({document, 0, 11, true, 1});
  return windows;
}

}  // namespace

TEST_CASE("token-weighted and document-mean perplexity differ when documents have unequal windows") {
  const std::vector<WindowScore> scores = {{10.0, 10}, {30.0, 10}, {20.0, 10}};
  CHECK(token_weighted_perplexity(scores) == Approx(std::exp(2.0)));
  CHECK(document_mean_perplexity(scores, windows_of({0, 1, 1})) == Approx(std::exp((1.0 + 2.5) / 2.0)));
  const std::vector<WindowScore> bad = {{10.0, 10}, {std::numeric_limits<double>::quiet_NaN(), 10}};
  CHECK(std::isnan(token_weighted_perplexity(bad)));
}

TEST_CASE("a paired difference clusters the windows of a document") {
  const std::vector<WindowScore> a = {{11.0, 10}, {13.0, 10}, {14.0, 10}, {16.0, 10}};
  const std::vector<WindowScore> b = {{10.0, 10}, {11.0, 10}, {11.0, 10}, {12.0, 10}};  // differences 1 2 3 4
  const auto one_document = paired_difference(a, b, windows_of({0, 0, 0, 0}));
  CHECK(one_document.clusters == 4);
  CHECK(one_document.nats_per_token == Approx(0.25));
  // residuals -1.5 -0.5 0.5 1.5: sqrt(4/3 * 5) / 40
  CHECK(one_document.standard_error == Approx(std::sqrt(20.0 / 3.0) / 40.0));
  const auto two_documents = paired_difference(a, b, windows_of({0, 0, 1, 1}));
  CHECK(two_documents.clusters == 2);
  // cluster sums 3 and 7, residuals -2 and 2: sqrt(2 * 8) / 40
  CHECK(two_documents.standard_error == Approx(0.1));
  CHECK(std::isnan(paired_difference(std::span(a).first(1), std::span(b).first(1), windows_of({0})).standard_error));
  CHECK(paired_difference(a, a, windows_of({0, 0, 1, 1})).nats_per_token == 0.0);
}
