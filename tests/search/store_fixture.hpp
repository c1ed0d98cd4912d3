// A directory of its own, a job's header, and a job that searches an analytic function into a store.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "search/ordering.hpp"
#include "search/store.hpp"
#include "tests/search/search_space.hpp"

namespace longrope::search::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "longrope-store-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline constexpr std::int64_t kDim = 16, kWindows = 3;
inline constexpr double kScale = 8.0;

inline StoreHeader make_header() {
  StoreHeader header;
  header.program_version = "0.1.0";
  header.created_utc = "2026-01-02T03:04:05Z";
  header.command_line = "longrope search --model 'ü'";
  header.seed = 0xfedcba9876543210u;
  header.model = {"tiny", "LlamaForCausalLM", std::string(64, 'a'), 3000000, kDim, 256, 10000.0, std::string(64, 'c')};
  header.corpus.sources = "a.txt\nb.txt";
  header.corpus.protocol = "window";
  header.corpus.document_names = {"a.txt", "größer.txt"};
  header.corpus.document_tokens = {5000, 4000};
  header.corpus.tokens_sha256 = std::string(64, 'b');
  header.corpus.window_document = {0, 1, 0};
  header.corpus.window_first_token = {0, 0, 2047};
  header.corpus.window_length = {2048, 2048, 2048};
  header.stage = {"main", 0, 2048, "", "paper-ga", "{\"start_tokens\":0}", "ppl@2048", 400, "running"};
  return header;
}

/// A row made up from an id, different in every field; every fifth is bad.
inline StoreRow make_row(std::int64_t id, std::int32_t generation) {
  StoreRow row;
  Candidate& c = row.candidate;
  c.id = id;
  c.generation = generation;
  c.origin = static_cast<Origin>(id % 6);
  c.parents[0] = id - 1;
  c.parents[1] = id >= 2 ? id - 2 : -1;
  for (std::int64_t i = 0; i < kDim / 2; ++i)
    c.factors.push_back(1.0 + 0.1 * static_cast<double>(id) + static_cast<double>(i) / 3.0);
  c.start_tokens = static_cast<std::int32_t>(id * 2);
  c.attention_factor = 1.0 + 1.0 / static_cast<double>(id + 3);
  EvalResult& r = row.result;
  const bool bad = id % 5 == 4;
  for (std::int64_t w = 0; w < kWindows; ++w) {
    r.windows.push_back({bad ? std::nan("") : 1000.0 / static_cast<double>(id + w + 1), bad ? 0 : 2047 - w});
  }
  r.status = bad ? Status::non_finite : Status::ok;
  r.reason = bad ? "[evaluate] NLL of window 0 must be finite but is nan (äöü, and some more text to be cut)" : "";
  r.cost = 1.0 / 3.0;
  r.elapsed_s = 0.25 * static_cast<double>(id);
  r.objectives = {bad ? std::nan("") : 5.0 + 1.0 / static_cast<double>(id + 1)};
  return row;
}

inline StoreGeneration make_generation(std::int32_t generation, std::int64_t evaluations) {
  return {generation,
          generation < 0 ? -1 : evaluations - 1,
          generation < 0 ? std::nan("") : 5.5 - generation,
          evaluations,
          3.5,
          1.25};
}

inline bool equal(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

inline bool equal(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) { return equal(x, y); });
}

inline bool equal(const StoreRow& a, const StoreRow& b, bool with_time = true) {
  bool all = same(a.candidate, b.candidate) && a.result.status == b.result.status && a.result.cost == b.result.cost &&
             equal(a.result.objectives, b.result.objectives) && a.result.windows.size() == b.result.windows.size();
  if (with_time) all = all && a.result.elapsed_s == b.result.elapsed_s;
  for (std::size_t w = 0; all && w < a.result.windows.size(); ++w) {
    all = equal(a.result.windows[w].nll_nats, b.result.windows[w].nll_nats) &&
          a.result.windows[w].tokens == b.result.windows[w].tokens;
  }
  return all;
}

inline bool equal(const StoreGeneration& a, const StoreGeneration& b) {
  return a.generation == b.generation && a.best_id == b.best_id && equal(a.best_objective, b.best_objective) &&
         a.evaluations == b.evaluations && a.cost == b.cost && equal(a.hypervolume, b.hypervolume) &&
         a.frontier == b.frontier;
}

/// Same rows, generations and states: the same search.
inline bool equal(const StoreContents& a, const StoreContents& b) {
  bool all = a.rows.size() == b.rows.size() && a.generations.size() == b.generations.size() && a.states == b.states;
  for (std::size_t i = 0; all && i < a.rows.size(); ++i) all = equal(a.rows[i], b.rows[i], false);
  for (std::size_t i = 0; all && i < a.generations.size(); ++i) all = equal(a.generations[i], b.generations[i]);
  return all;
}

/// Searches into `file` from its start or from where it stands, `limit` candidates an append, until `budget` rows.
/// `idle` is called where a real job evaluates.
inline void run_job(const std::filesystem::path& file, std::int64_t budget, std::int64_t limit,
                    const std::function<void()>& idle) {
  StoreContents contents;
  const StoreHeader header = make_header();
  StoreWriter writer =
      std::filesystem::exists(file) ? StoreWriter::resume(file, header, contents) : StoreWriter::create(file, header);
  auto strategy = make_strategy("paper-ga", make_space(kDim, kScale, 256), {header.seed, 0});
  Told told;
  std::int64_t best_id = -1;
  double best = std::nan("");
  const auto note = [&](const Candidate& candidate, double objective) {
    told.candidates.push_back(candidate);
    told.objectives.push_back(objective);
    if (less_nan_last(objective, best)) std::tie(best, best_id) = std::pair(objective, candidate.id);
  };
  for (const StoreRow& row : contents.rows) note(row.candidate, row.result.first());
  if (!contents.states.empty()) strategy->load(contents.states.back(), told.candidates, told.objectives);
  for (;;) {
    const auto rows_so_far = static_cast<std::int64_t>(told.candidates.size());
    if (rows_so_far >= budget) break;
    const auto candidates = strategy->ask(rows_so_far, std::min(limit, budget - rows_so_far));
    if (candidates.empty()) break;
    idle();
    std::vector<StoreRow> rows;
    std::vector<Outcome> objectives;
    for (const Candidate& candidate : candidates) {
      StoreRow row;
      row.candidate = candidate;
      row.result.objectives = {score(candidate, kScale, true)};
      for (int w = 0; w < kWindows; ++w) row.result.windows.push_back({row.result.first() * w, 2047});
      row.result.cost = 1.0;
      rows.push_back(row);
      objectives.push_back(row.result.first());
      note(candidate, row.result.first());
    }
    strategy->tell(candidates, objectives);
    const auto count = static_cast<std::int64_t>(told.candidates.size());
    StoreGeneration generation{candidates[0].generation,   best_id, best, count, static_cast<double>(count), 0.0,
                               static_cast<double>(count), {}};
    if (best_id >= 0) generation.frontier = {{best_id, {best}}};
    writer.append(rows, generation, strategy->save());
  }
  writer.finish("done", {});
}

}  // namespace longrope::search::test
