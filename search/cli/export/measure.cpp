#include "search/cli/export/measure.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/error.hpp"
#include "model/config_table.hpp"
#include "search/perplexity_evaluator.hpp"

namespace longrope::cli {
namespace {

std::vector<search::EvalResult> score_tables(const Session& session, const std::vector<model::RopeTable>& tables,
                                             const std::vector<model::Window>& windows) {
  const search::PerplexityEvaluator evaluator(session.lanes(), session.corpus(), windows, session.rotation_precision());
  std::vector<search::EvalResult> results = search::evaluate_all(
      evaluator, tables, 1, [] {}, &stop_requested());
  for (const search::EvalResult& result : results) {
    if (!result.complete()) throw RuntimeError(fmt::format("[export] a forward pass failed: {}", result.reason));
  }
  return results;
}

}  // namespace

std::vector<std::int64_t> measured_lengths(const Session& session, const std::vector<std::int64_t>& given,
                                           std::int64_t target_length) {
  const auto has_text = [&](std::int64_t length) {
    model::make_windows(session.corpus(), session.protocol(), length, session.window_count());
  };
  if (!given.empty()) {
    std::for_each(given.begin(), given.end(), has_text);
    return given;
  }
  const std::int64_t original = session.transformer().config().rope.original_length;
  has_text(original);
  std::vector<std::int64_t> lengths;
  for (const std::int64_t length : {original / 4, original / 2, original, target_length}) {
    if (length < 2 || (!lengths.empty() && length <= lengths.back())) continue;
    try {
      has_text(length);
      lengths.push_back(length);
    } catch (const InputError& error) {
      fmt::print(stderr, "longrope: [export] warning: not measured at {}: {}\n", length, error.what());
    }
  }
  return lengths;
}

Measurement measure_export(const Session& session, const model::ExportTables& tables,
                           const std::vector<std::int64_t>& lengths) {
  const model::ModelConfig& config = session.transformer().config();
  Measurement measurement{
      session.protocol().to_string(), session.numerics(), session.window_count(), session.corpus().sources, {}};
  for (const std::int64_t length : lengths) {
    std::vector<std::string> names{"checkpoint as it is", "long table"};
    std::vector<model::RopeTable> scored{model::config_rope_table(config, length), tables.long_table};
    if (tables.switches && length <= config.rope.original_length) {
      names.emplace_back("short table");
      scored.push_back(tables.short_table);
    }
    const auto windows = model::make_windows(session.corpus(), session.protocol(), length, session.window_count());
    const std::vector<search::EvalResult> results = score_tables(session, scored, windows);
    for (std::size_t i = 0; i < names.size(); ++i) {
      measurement.rows.push_back({length, names[i], results[i],
                                  search::paired_difference(results[i].windows, results.front().windows, windows)});
    }
  }
  return measurement;
}

search::EvalResult score_table(const Session& session, const model::RopeTable& table, std::int64_t length) {
  return score_tables(session, {table},
                      model::make_windows(session.corpus(), session.protocol(), length, session.window_count()))
      .front();
}

}  // namespace longrope::cli
