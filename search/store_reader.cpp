// Reading a store. Nothing in the file is trusted: extents, counts, enums and texts are checked before they are used.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "kernels/error.hpp"
#include "search/objective.hpp"
#include "search/store_input.hpp"
#include "search/store_schema.hpp"

namespace longrope::search {
namespace {

StoreKeyTokens read_key_tokens(const Hdf5Object& group, const std::vector<std::int64_t>& window_length) {
  StoreKeyTokens keys;
  keys.settings = group.text_attribute("settings");
  keys.sha256 = group.text_attribute("sha256");
  keys.window = column<std::int64_t>(group, "window", kAllRows);
  keys.position = column<std::int64_t>(group, "position", keys.window.size());
  keys.scored = column<std::int64_t>(group, "scored", window_length.size());
  for (std::size_t i = 0; i < keys.window.size(); ++i) {
    require(keys.window[i] >= 0 && std::cmp_less(keys.window[i], window_length.size()) && keys.position[i] >= 1 &&
                keys.position[i] < window_length[static_cast<std::size_t>(keys.window[i])],
            "a key token is not in its window");
    require(i == 0 || std::pair(keys.window[i - 1], keys.position[i - 1]) < std::pair(keys.window[i], keys.position[i]),
            "its key tokens are not in order");
  }
  for (const std::int64_t scored : keys.scored) require(scored >= 0, "a token count is negative");
  return keys;
}

StoreCorpus read_corpus(const Hdf5Object& group) {
  StoreCorpus corpus;
  corpus.sources = group.text_attribute("sources");
  corpus.protocol = group.text_attribute("protocol");
  corpus.tokens_sha256 = group.text_attribute("tokens_sha256");
  const Hdf5Object documents = group.open_group("documents"), windows = group.open_group("windows");
  corpus.document_tokens = column<std::int64_t>(documents, "tokens", kAllRows);
  corpus.document_names = documents.open_dataset("name").read_text(corpus.document_tokens.size());
  corpus.window_document = column<std::int64_t>(windows, "document", kAllRows);
  const std::size_t count = corpus.window_document.size();
  require(count >= 1 && count <= static_cast<std::size_t>(kMaxWindows), "the number of windows is impossible");
  corpus.window_first_token = column<std::int64_t>(windows, "first_token", count);
  corpus.window_length = column<std::int64_t>(windows, "length", count);
  for (std::size_t w = 0; w < count; ++w) {
    require(corpus.window_document[w] >= -1 && corpus.window_first_token[w] >= 0 && corpus.window_length[w] >= 1,
            "a window is impossible");
  }
  if (windows.has("needle_first")) corpus.window_needle_first = column<std::int64_t>(windows, "needle_first", count);
  if (group.has("key_tokens"))
    corpus.key_tokens = read_key_tokens(group.open_group("key_tokens"), corpus.window_length);
  return corpus;
}

StoreStage read_stage(const Hdf5Object& group, const std::string& name) {
  StoreStage stage;
  stage.name = name;
  const std::int64_t index = group.i64_attribute("index");
  require(index >= 0 && index < 65536, "the stage's index is impossible");
  stage.index = static_cast<std::int32_t>(index);
  stage.target_length = group.i64_attribute("target_length");
  stage.base = group.text_attribute("base");
  stage.strategy = group.text_attribute("strategy");
  stage.options = group.text_attribute("options");
  stage.objectives = group.text_attribute("objectives");
  stage.budget = group.i64_attribute("budget");
  stage.status = group.text_attribute("status");
  if (group.has_attribute("stop_reason")) stage.stop_reason = group.text_attribute("stop_reason");
  if (group.has_attribute("baselines")) stage.baselines = group.text_attribute("baselines");
  if (group.has("original_objectives"))
    stage.original_objectives = column<double>(group, "original_objectives", count_objectives(stage.objectives));
  if (group.has("base_factors")) {
    stage.base_factors = column<double>(group, "base_factors", kAllRows);
    require(stage.base_factors.size() <= static_cast<std::size_t>(kMaxPairs), "its base factors are impossibly many");
    for (const double factor : stage.base_factors)
      require(std::isfinite(factor) && factor > 0.0, "a base factor is not positive");
  }
  return stage;
}

std::vector<StoreGeneration> read_generations(const Hdf5Object& stage) {
  const Hdf5Object group = stage.open_group("generations");
  const std::vector<std::int32_t> generation =
      column<std::int32_t>(group, "generation", kAllRows);  // the commits: first
  const std::size_t count = generation.size();
  const auto best_id = column<std::int64_t>(group, "best_id", count);
  const auto best_objective = column<double>(group, "best_objective", count);
  const auto evaluations = column<std::int64_t>(group, "evaluations", count);
  const auto cost = column<double>(group, "cost", count);
  const auto elapsed_s = column<double>(group, "elapsed_s", count);
  std::vector<double> hypervolume(count, std::numeric_limits<double>::quiet_NaN());
  if (group.has("hypervolume")) hypervolume = column<double>(group, "hypervolume", count);
  std::vector<StoreGeneration> generations(count);
  for (std::size_t g = 0; g < count; ++g) {
    generations[g] = {generation[g], best_id[g],   best_objective[g], evaluations[g],
                      cost[g],       elapsed_s[g], hypervolume[g],    {}};
    require(evaluations[g] >= (g == 0 ? 0 : evaluations[g - 1]) && generation[g] >= -1 && best_id[g] >= -1 &&
                best_id[g] < evaluations[g],
            "its generations contradict each other");
  }
  return generations;
}

/// Fills the frontiers of the committed generations. Stores from before there were several objectives have no column
/// that says which block a point is of, and need none: a block is the best candidate.
void read_frontiers(const Hdf5Object& stage, std::size_t objectives, std::vector<StoreGeneration>& generations) {
  const Hdf5Object group = stage.open_group("frontier");
  if (!group.has("generation_row")) {
    for (StoreGeneration& generation : generations) {
      if (generation.best_id >= 0) generation.frontier = {{generation.best_id, {generation.best_objective}}};
    }
    return;
  }
  std::vector<std::int64_t> rows = column<std::int64_t>(group, "generation_row", kAllRows);
  const auto end = std::find_if(rows.begin(), rows.end(), [&](std::int64_t row) {
    return row < 0 || std::cmp_greater_equal(row, generations.size());  // of a generation that is not committed
  });
  rows.erase(end, rows.end());
  require(std::is_sorted(rows.begin(), rows.end()), "its frontiers are not one after the other");
  const auto id = column<std::int64_t>(group, "id", rows.size());
  const auto values = column<double>(group, "objectives", rows.size(), {objectives});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    StoreGeneration& generation = generations[static_cast<std::size_t>(rows[i])];
    require(id[i] >= 0 && id[i] < generation.evaluations, "a point of a frontier is not in it");
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(i * objectives);
    generation.frontier.push_back({id[i], {first, first + static_cast<std::ptrdiff_t>(objectives)}});
  }
}

StoreHoldout read_holdout(const Hdf5Object& group, std::size_t objectives) {
  StoreHoldout holdout;
  holdout.corpus = read_corpus(group);
  holdout.verdict = group.text_attribute("verdict");
  const std::size_t windows = holdout.corpus.window_length.size();
  require(windows % objectives == 0, "its holdout windows do not fit its objectives");
  const Hdf5Object evaluations = group.open_group("evaluations");
  const auto id = column<std::int64_t>(evaluations, "id", kAllRows);
  const std::size_t count = id.size();
  const auto name = evaluations.open_dataset("name").read_text(count);
  const auto nll_nats = column<double>(evaluations, "nll_nats", count, {windows});
  const auto tokens = column<std::int64_t>(evaluations, "tokens", count, {windows});
  const auto values = column<double>(evaluations, "objectives", count, {objectives});
  const auto status = column<std::int8_t>(evaluations, "status", count);
  for (std::size_t i = 0; i < count; ++i) {
    require(status[i] >= 0 && std::cmp_less(status[i], std::size(kStatusNames)), "a status is unknown");
    require(id[i] >= -1, "a holdout id is impossible");
    StoreHoldoutRow row{name[i], id[i], {}};
    for (std::size_t w = 0; w < windows; ++w) {
      row.result.windows.push_back({nll_nats[i * windows + w], tokens[i * windows + w]});
      require(row.result.windows.back().tokens >= 0, "a token count is negative");
    }
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(i * objectives);
    row.result.objectives.assign(first, first + static_cast<std::ptrdiff_t>(objectives));
    row.result.status = static_cast<Status>(status[i]);
    holdout.rows.push_back(std::move(row));
  }
  return holdout;
}

std::vector<std::string> read_states(const Hdf5Object& stage, std::size_t generations) {
  const Hdf5Object group = stage.open_group("state");
  const std::vector<std::int64_t> index = column<std::int64_t>(group, "index", generations, {3});
  std::int64_t size = 0;
  for (std::size_t g = 0; g < generations; ++g) {
    const std::int64_t offset = index[3 * g + 1], length = index[3 * g + 2];
    require(offset == size && length >= 0 && length <= std::int64_t{1} << 32, "its states are not one after the other");
    size += length;
  }
  const std::vector<std::uint8_t> bytes = column<std::uint8_t>(group, "bytes", static_cast<std::uint64_t>(size));
  std::vector<std::string> states;
  for (std::size_t g = 0; g < generations; ++g) {
    const auto start = bytes.begin() + index[3 * g + 1];
    states.emplace_back(start, start + index[3 * g + 2]);
  }
  return states;
}

std::vector<StoreRow> read_rows(const Hdf5Object& stage, std::size_t count, std::size_t pairs, std::size_t windows,
                                std::size_t objectives) {
  const Hdf5Object group = stage.open_group("evaluations");
  const auto id = column<std::int64_t>(group, "id", count);
  const auto generation = column<std::int32_t>(group, "generation", count);
  const auto origin = column<std::int8_t>(group, "origin", count);
  const auto parents = column<std::int64_t>(group, "parents", count, {2});
  const auto factors = column<double>(group, "factors", count, {pairs});
  const auto start_tokens = column<std::int32_t>(group, "start_tokens", count);
  const auto attention_factor = column<double>(group, "attention_factor", count);
  const auto nll_nats = column<double>(group, "nll_nats", count, {windows});
  const auto tokens = column<std::int64_t>(group, "tokens", count, {windows});
  const auto values = column<double>(group, "objectives", count, {objectives});
  const auto status = column<std::int8_t>(group, "status", count);
  const auto reason = group.open_dataset("reason").read_text(count);
  const auto cost = column<double>(group, "cost", count);
  const auto elapsed_s = column<double>(group, "elapsed_s", count);

  std::vector<StoreRow> rows(count);
  for (std::size_t i = 0; i < count; ++i) {
    require(std::cmp_equal(id[i], i), "its ids are not the row numbers");
    require(origin[i] >= 0 && std::cmp_less(origin[i], std::size(kOriginNames)), "an origin is unknown");
    require(status[i] >= 0 && std::cmp_less(status[i], std::size(kStatusNames)), "a status is unknown");
    Candidate& candidate = rows[i].candidate;
    candidate.id = id[i];
    candidate.generation = generation[i];
    candidate.origin = static_cast<Origin>(origin[i]);
    for (std::size_t p = 0; p < 2; ++p) {
      candidate.parents[p] = parents[2 * i + p];
      require(candidate.parents[p] >= -1 && std::cmp_less(candidate.parents[p], count), "a parent is not in it");
    }
    const auto first_factor = factors.begin() + static_cast<std::ptrdiff_t>(i * pairs);
    candidate.factors.assign(first_factor, first_factor + static_cast<std::ptrdiff_t>(pairs));
    for (const double factor : candidate.factors)
      require(std::isfinite(factor) && factor > 0.0, "a factor is not positive");
    candidate.start_tokens = start_tokens[i];
    candidate.attention_factor = attention_factor[i];
    require(start_tokens[i] >= 0 && std::isfinite(attention_factor[i]), "a candidate is impossible");
    EvalResult& result = rows[i].result;
    result.windows.resize(windows);
    for (std::size_t w = 0; w < windows; ++w) {
      result.windows[w] = {nll_nats[i * windows + w], tokens[i * windows + w]};
      require(result.windows[w].tokens >= 0, "a token count is negative");
    }
    const auto first_value = values.begin() + static_cast<std::ptrdiff_t>(i * objectives);
    result.objectives.assign(first_value, first_value + static_cast<std::ptrdiff_t>(objectives));
    result.status = static_cast<Status>(status[i]);
    result.reason = reason[i];
    result.cost = cost[i];
    result.elapsed_s = elapsed_s[i];
  }
  return rows;
}

/// owner: of what differs between stages.
StoreContents read_contents(const Hdf5Object& owner, const Hdf5Object& stage, StoreStage read) {
  StoreContents contents;
  StoreHeader& header = contents.header;
  header.program_version = owner.text_attribute("program_version");
  header.created_utc = owner.text_attribute("created_utc");
  header.command_line = owner.text_attribute("command_line");
  header.seed = owner.u64_attribute("seed");
  header.model = read_model(owner);
  header.corpus = read_corpus(owner.open_group("corpus"));
  header.stage = std::move(read);

  const std::size_t objectives = count_objectives(header.stage.objectives);
  require(objectives <= kMaxObjectives && header.corpus.window_length.size() % objectives == 0,
          "its windows do not fit its objectives");
  require(header.stage.base_factors.empty() ||
              std::cmp_equal(header.stage.base_factors.size(), header.model.rotary_dim / 2),
          "its base factors do not fit its model");
  contents.generations = read_generations(stage);
  read_frontiers(stage, objectives, contents.generations);
  const std::size_t rows =
      contents.generations.empty() ? 0 : static_cast<std::size_t>(contents.generations.back().evaluations);
  contents.rows = read_rows(stage, rows, static_cast<std::size_t>(header.model.rotary_dim / 2),
                            header.corpus.window_document.size(), objectives);
  for (const StoreGeneration& generation : contents.generations) {
    for (const StorePoint& point : generation.frontier)
      require(std::cmp_less(point.id, rows), "a point of a frontier is not in it");
  }
  if (owner.has("holdout")) header.holdout = read_holdout(owner.open_group("holdout"), objectives);
  contents.states = read_states(stage, contents.generations.size());
  return contents;
}

std::vector<StoreContents> read_all(const Hdf5Object& file) {
  const Hdf5Object group = file.open_group("stages");
  const std::vector<std::string> names = group.child_names();
  require((!names.empty() || file.has("needle")) && names.size() <= kMaxStages, "its number of stages is impossible");
  std::vector<StoreStage> stages;
  for (const std::string& name : names) stages.push_back(read_stage(group.open_group(name), name));
  std::sort(stages.begin(), stages.end(), [](const StoreStage& a, const StoreStage& b) { return a.index < b.index; });
  std::vector<StoreContents> contents;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    require(i == 0 || stages[i - 1].index < stages[i].index, "two of its stages have one index");
    const Hdf5Object stage = group.open_group(stages[i].name);
    contents.push_back(read_contents(i == 0 ? file : stage, stage, stages[i]));
    require(contents[i].header.model.rotary_dim == contents[0].header.model.rotary_dim,
            "its stages are of different rotary_dim");
  }
  return contents;
}

bool has_table(const StoreContents& contents) {
  return !contents.generations.empty() && contents.generations.back().best_id >= 0;
}

std::vector<StoreTable> read_tables(const Hdf5Object& file) {
  const Hdf5Object group = file.open_group("tables");
  std::vector<StoreTable> tables;
  for (const std::string& name : group.child_names()) {
    const Hdf5Object entry = group.open_group(name);
    StoreTable table;
    table.name = name;
    table.long_factors = column<double>(entry, "long", kAllRows);
    table.short_factors = column<double>(entry, "short", kAllRows);
    table.attention_factor = entry.f64_attribute("attention_factor");
    table.target_length = entry.i64_attribute("target_length");
    table.original_length = entry.i64_attribute("original_length");
    table.short_attention_factor = table.attention_factor;
    if (entry.has_attribute("start_tokens")) table.start_tokens = entry.i64_attribute("start_tokens");
    table.short_start_tokens = table.start_tokens;
    if (entry.has_attribute("switch_length")) {
      table.switch_length = entry.i64_attribute("switch_length");
      table.short_attention_factor = entry.f64_attribute("short_attention_factor");
      table.short_start_tokens = entry.i64_attribute("short_start_tokens");
    }
    for (const double factor : {table.attention_factor, table.short_attention_factor})
      require(std::isfinite(factor) && factor > 0.0, "an attention factor is not positive");
    for (const std::int64_t tokens : {table.start_tokens, table.short_start_tokens, table.switch_length})
      require(tokens >= 0, "a table's count of tokens is negative");
    require(table.long_factors.size() == table.short_factors.size(), "a table's long and short differ in length");
    for (const std::vector<double>* factors : {&table.long_factors, &table.short_factors}) {
      require(factors->size() <= static_cast<std::size_t>(kMaxPairs), "a table is impossibly long");
      for (const double factor : *factors) require(std::isfinite(factor) && factor > 0.0, "a factor is not positive");
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

}  // namespace

std::vector<StoreContents> read_any_stages(const std::filesystem::path& path) {
  return read_checked(path, [](const Hdf5Object& file, bool open_for_write) {
    std::vector<StoreContents> stages = read_all(file);
    for (StoreContents& contents : stages) contents.open_for_write = open_for_write;
    return stages;
  });
}

std::vector<StoreContents> read_stages(const std::filesystem::path& path) {
  std::vector<StoreContents> stages = read_any_stages(path);
  if (stages.empty())
    throw InputError(fmt::format("[store] {} must hold a search but has needle runs only", path.string()));
  return stages;
}

StoreContents read_store(const std::filesystem::path& path, const std::string& stage) {
  std::vector<StoreContents> stages = read_stages(path);
  if (stage.empty()) return std::move(stages[longest_stage(stages)]);
  std::string names;
  for (StoreContents& contents : stages) {
    if (contents.header.stage.name == stage) return std::move(contents);
    names += (names.empty() ? "\"" : ", \"") + contents.header.stage.name + "\"";
  }
  throw InputError(fmt::format("[store] {} has the stage{} {} but got \"{}\"", path.string(),
                               stages.size() == 1 ? "" : "s", names, stage));
}

std::size_t longest_stage(const std::vector<StoreContents>& stages) {
  const auto rank = [](const StoreContents& contents) {
    return std::pair(has_table(contents), contents.header.stage.target_length);
  };
  std::size_t chosen = 0;
  for (std::size_t i = 1; i < stages.size(); ++i) {
    if (rank(stages[i]) >= rank(stages[chosen])) chosen = i;
  }
  return chosen;
}

std::vector<StoreTable> read_store_tables(const std::filesystem::path& path) {
  return read_checked(path, [](const Hdf5Object& file, bool) { return read_tables(file); });
}

}  // namespace longrope::search
