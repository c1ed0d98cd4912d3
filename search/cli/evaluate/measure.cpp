// The measurements of `longrope evaluate`.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <set>
#include <sstream>
#include <utility>

#include "kernels/error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/evaluate/evaluation.hpp"
#include "search/cli/needle_options.hpp"
#include "search/needle_runner.hpp"
#include "search/perplexity_evaluator.hpp"
#include "search/store_table.hpp"

namespace longrope::cli {
namespace {

/// Key tokens are those that a context beyond L0 helps: up to there a length has none.
std::vector<search::Objective> objectives_at(const EvaluateRequest& request, const Session& session,
                                             std::int64_t length) {
  using Kind = search::Objective::Kind;
  std::vector<search::Objective> objectives{{Kind::perplexity, length}};
  const std::int64_t context =
      request.objectives.key_tokens.resolved(session.transformer().config().rope.original_length).context;
  if (request.metrics.key_ppl && length > context) objectives.push_back({Kind::key_perplexity, length});
  if (request.metrics.needle) objectives.push_back({Kind::needle, length});
  return objectives;
}

search::ObjectiveWindows windows_at(const EvaluateRequest& request, const Session& session, std::int64_t length) {
  std::set<std::string> keys;
  return make_windows(session, session.corpus(), objectives_at(request, session, length), session.window_count(),
                      request.objectives, 0, keys);
}

/// "length N  windows 3/12  5s left" as tasks are done.
class Progress {
 public:
  Progress(std::int64_t length, const char* what, std::size_t tasks) : length_(length), what_(what), tasks_(tasks) {}
  ~Progress() { live_line(""); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void done() {
    const std::lock_guard lock(mutex_);
    ++finished_;
    const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    live_line(fmt::format(
        "length {}  {} {}/{}  {} left", length_, what_, finished_, tasks_,
        format_duration(elapsed_s * static_cast<double>(tasks_ - finished_) / static_cast<double>(finished_))));
  }

 private:
  std::int64_t length_;
  const char* what_;
  std::size_t tasks_, finished_ = 0;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

/// The grid of passkeys at a length: five depths.
search::NeedleGrid passkey_grid(const EvaluateRequest& request, std::int64_t length) {
  return {{length}, search::linear_depths(5), request.trials};
}

model::NeedleOptions passkey_options(const EvaluateRequest& request) {
  model::NeedleOptions options = request.objectives.needle;
  if (options.task != model::NeedleTask::passkey) {
    options.task = model::NeedleTask::passkey;
    options.needle = options.question = options.answer = "";
  }
  return options;
}

/// Answers to passkeys of a length, by spec.
void ask_passkeys(const EvaluateRequest& request, const Session& session, const std::vector<model::RopeTable>& tables,
                  std::int64_t length, std::vector<EvaluateRow>& rows) {
  const model::TextTokenizer tokenizer = needle_tokenizer(session.model_directory());
  const model::NeedlePromptMaker maker(tokenizer, &session.corpus(), passkey_options(request));
  search::NeedleJob job;
  job.grid = passkey_grid(request, length);
  job.ropes = tables.size();
  job.new_tokens = search::longest_answer(maker, job.grid) + search::kSpareTokens;
  std::vector<search::NeedleRow> answers;
  Progress progress(length, "passkeys", job.ropes * job.grid.cells());
  std::vector<std::vector<model::RopeTable>> by_length;
  for (const model::RopeTable& table : tables) by_length.push_back({table});
  search::run_needles(
      session.lanes(), maker, tokenizer, job,
      search::generator_decoders(session.lanes(), by_length, job.grid.lengths, session.rotation_precision()),
      [&](search::NeedleRow row) {
        answers.push_back(std::move(row));
        progress.done();
      },
      &stop_requested());
  if (stop_requested()) throw Interrupted("[evaluate] stopped by a signal");
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::vector<const search::NeedleRow*> own;
    for (const search::NeedleRow& row : answers) {
      if (std::cmp_equal(row.rope, r)) own.push_back(&row);
    }
    std::sort(own.begin(), own.end(), [](const auto* a, const auto* b) { return a->cell < b->cell; });
    rows[r].passkeys = search::summarise(own);
  }
}

}  // namespace

Metrics parse_metrics(const std::string& text) {
  Metrics metrics;
  std::istringstream list(text);
  for (std::string name; std::getline(list, name, ',');) {
    check_choice("metrics", name, {"ppl", "key-ppl", "needle", "passkey", "all"});
    const bool all = name == "all";
    metrics.key_ppl = metrics.key_ppl || all || name == "key-ppl";
    metrics.needle = metrics.needle || all || name == "needle";
    metrics.passkey = metrics.passkey || all || name == "passkey";
  }
  if (text.empty() || text.back() == ',') check_choice("metrics", "", {"ppl", "key-ppl", "needle", "passkey", "all"});
  return metrics;
}

std::vector<search::Objective> kinds_of(const Metrics& metrics) {
  using Kind = search::Objective::Kind;
  std::vector<search::Objective> kinds{{Kind::perplexity, 0}};
  if (metrics.key_ppl) kinds.push_back({Kind::key_perplexity, 0});
  if (metrics.needle || metrics.passkey) kinds.push_back({Kind::needle, 0});
  return kinds;
}

void check_lengths(const EvaluateRequest& request, const Session& session) {
  std::int64_t shortest_key = 0;
  for (const std::int64_t length : request.lengths) {
    const search::ObjectiveWindows windows = windows_at(request, session, length);
    for (const model::RopeSpec& spec : request.specs)
      search::resolve_rope_table(spec, session.transformer().config(), length);
    for (const search::Objective& objective : objectives_at(request, session, length))
      shortest_key += objective.kind == search::Objective::Kind::key_perplexity ? 1 : 0;
    if (!request.metrics.passkey) continue;
    const model::TextTokenizer tokenizer = needle_tokenizer(session.model_directory());
    const model::NeedlePromptMaker maker(tokenizer, &session.corpus(), passkey_options(request));
    const search::NeedleGrid grid = passkey_grid(request, length);
    search::check_prompts(maker, grid, search::longest_answer(maker, grid) + search::kSpareTokens,
                          session.transformer().config().vocabulary);
  }
  if (request.metrics.key_ppl && shortest_key == 0) {
    throw InputError(fmt::format(
        "[--metrics] key-ppl needs a length above the short context of {} tokens but there is none (--length, or a "
        "lower --key-context)",
        request.objectives.key_tokens.resolved(session.transformer().config().rope.original_length).context));
  }
}

std::vector<EvaluateRow> evaluate_length(const EvaluateRequest& request, const Session& session, std::int64_t length) {
  const model::ModelConfig& config = session.transformer().config();
  std::vector<model::RopeTable> tables;
  for (const model::RopeSpec& spec : request.specs) tables.push_back(search::resolve_rope_table(spec, config, length));
  const std::vector<search::Objective> objectives = objectives_at(request, session, length);
  search::ObjectiveWindows windows = windows_at(request, session, length);
  mark_key_tokens(session, objectives, request.objectives, windows, {});
  const search::PerplexityEvaluator evaluator(session.lanes(), std::move(windows.windows), std::move(windows.tokens),
                                              session.rotation_precision());
  std::vector<search::EvalResult> results;
  {
    Progress progress(length, "windows", tables.size() * evaluator.windows().size());
    results = search::evaluate_all(
        evaluator, tables, objectives.size(), [&] { progress.done(); }, &stop_requested());
  }
  std::vector<EvaluateRow> rows;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    EvaluateRow row;
    row.rope = request.specs[i].text;
    row.length = length;
    row.objectives = objectives;
    row.result = results[i];
    row.windows = evaluator.windows();
    const std::span<const model::Window> all = row.windows;
    row.document_mean = search::document_mean_perplexity(row.scores(0), all.first(all.size() / objectives.size()));
    rows.push_back(std::move(row));
    for (std::size_t k = 0; k < objectives.size(); ++k) {
      const search::WindowRange range = search::objective_windows(all.size(), objectives.size(), k);
      rows[i].differences.push_back(
          search::paired_difference(rows[i].scores(k), rows.front().scores(k), all.subspan(range.first, range.count)));
    }
  }
  if (request.metrics.passkey) ask_passkeys(request, session, tables, length, rows);
  return rows;
}

}  // namespace longrope::cli
