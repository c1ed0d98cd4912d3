#include "search/needle_result.hpp"

#include <algorithm>
#include <cmath>

#include "search/nan.hpp"

namespace longrope::search {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Digits without zeros in front, so that equal numbers are equal texts whatever their size.
std::string_view first_number(std::string_view text) {
  const auto first = std::find_if(text.begin(), text.end(), is_digit);
  const auto last = std::find_if_not(first, text.end(), is_digit);
  auto digits = text.substr(static_cast<std::size_t>(first - text.begin()), static_cast<std::size_t>(last - first));
  while (digits.size() > 1 && digits.front() == '0') digits.remove_prefix(1);
  return digits;
}

}  // namespace

bool needle_found(model::NeedleTask task, std::string_view generated, std::string_view answer) {
  if (task == model::NeedleTask::passkey) {
    const std::string_view number = first_number(generated);
    return !number.empty() && number == first_number(answer);
  }
  const auto same = [](char a, char b) { return lower(a) == lower(b); };
  return std::search(generated.begin(), generated.end(), answer.begin(), answer.end(), same) != generated.end();
}

std::pair<double, double> wilson_interval(std::int64_t successes, std::int64_t trials) {
  if (trials < 1) return {kNan, kNan};
  constexpr double z = 1.959963984540054;
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
  const double half = z / (1.0 + z * z / n) * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
  return {successes == 0 ? 0.0 : centre - half, successes == trials ? 1.0 : centre + half};
}

double NeedleSummary::accuracy() const {
  return trials == 0 ? kNan : static_cast<double>(exact) / static_cast<double>(trials);
}

std::pair<double, double> NeedleSummary::accuracy_interval() const { return wilson_interval(exact, trials); }

double NeedleSummary::perplexity() const {
  return answer_tokens == 0 ? kNan : std::exp(nll_nats / static_cast<double>(answer_tokens));
}

NeedleSummary summarise(std::span<const NeedleRow* const> rows) {
  NeedleSummary summary;
  for (const NeedleRow* row : rows) {
    ++summary.cells;
    summary.trials += row->exact >= 0 ? 1 : 0;
    summary.exact += row->exact == 1 ? 1 : 0;
    summary.nll_nats += row->nll_nats;
    summary.answer_tokens += row->answer_tokens;
  }
  return summary;
}

}  // namespace longrope::search
