// What `longrope evaluate` measures, and how it is shown: perplexity of scalings at lengths with the paired difference
// to the first, and beside it what tells whether the context is used.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/rope_spec.hpp"
#include "search/cli/objective_setup.hpp"
#include "search/cli/session.hpp"
#include "search/needle_result.hpp"
#include "search/paired_difference.hpp"

namespace longrope::cli {

/// What --metrics asks for besides perplexity.
struct Metrics {
  bool key_ppl = false, needle = false, passkey = false;
};

/// Everything the command was asked to do.
struct EvaluateRequest {
  std::vector<model::RopeSpec> specs;
  std::vector<std::int64_t> lengths;
  Metrics metrics;
  ObjectiveArguments objectives;
  std::int64_t trials = 0;  ///< passkeys a depth
};

/// One scaling at one length.
struct EvaluateRow {
  std::string rope;
  std::int64_t length = 0;
  std::vector<search::Objective> objectives;  ///< perplexity first
  search::EvalResult result;
  std::vector<model::Window> windows;  ///< of all objectives
  double document_mean = 0.0;
  std::vector<search::PairedDifference> differences;  ///< to the first spec at this length, by objective
  std::optional<search::NeedleSummary> passkeys;

  std::span<const search::WindowScore> scores(std::size_t k) const {
    const search::WindowRange range = search::objective_windows(windows.size(), objectives.size(), k);
    return std::span(result.windows).subspan(range.first, range.count);
  }
  std::int64_t tokens(std::size_t k) const {
    std::int64_t sum = 0;
    for (const search::WindowScore& score : scores(k)) sum += score.tokens;
    return sum;
  }
};

/// Throws InputError for a name that is none.
Metrics parse_metrics(const std::string& text);

/// A stand-in for each kind of objective among the metrics: options of another kind would do nothing.
std::vector<search::Objective> kinds_of(const Metrics& metrics);

/// Throws InputError for a length that cannot be, before the first is scored.
void check_lengths(const EvaluateRequest& request, const Session& session);

/// All specs at one length.
std::vector<EvaluateRow> evaluate_length(const EvaluateRequest& request, const Session& session, std::int64_t length);

void print_rows(const EvaluateRequest& request, const Session& session, const std::vector<EvaluateRow>& rows);
nlohmann::ordered_json rows_json(const Session& session, const std::vector<EvaluateRow>& rows);

}  // namespace longrope::cli
