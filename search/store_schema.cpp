#include "search/store_schema.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "search/objective.hpp"

namespace longrope::search {
namespace {

void write_corpus(const Hdf5Object& group, const StoreCorpus& corpus) {
  group.set_attribute("sources", corpus.sources);
  group.set_attribute("protocol", corpus.protocol);
  group.set_attribute("tokens_sha256", corpus.tokens_sha256);
  const Hdf5Object documents = group.create_group("documents");
  documents.write_fixed("name", corpus.document_names, "document");
  documents.write_fixed("tokens", corpus.document_tokens, "document");
  const Hdf5Object windows = group.create_group("windows");
  windows.write_fixed("document", corpus.window_document, "window");
  windows.write_fixed("first_token", corpus.window_first_token, "window");
  windows.write_fixed("length", corpus.window_length, "window");
  if (!corpus.window_needle_first.empty()) windows.write_fixed("needle_first", corpus.window_needle_first, "window");
  const StoreKeyTokens& keys = corpus.key_tokens;
  if (keys.settings.empty()) return;
  const Hdf5Object key_tokens = group.create_group("key_tokens");
  key_tokens.set_attribute("settings", keys.settings);
  key_tokens.set_attribute("sha256", keys.sha256);
  key_tokens.write_fixed("window", keys.window, "key_token");
  key_tokens.write_fixed("position", keys.position, "key_token");
  key_tokens.write_fixed("scored", keys.scored, "window");
}

void write_holdout(const Hdf5Object& group, const StoreHoldout& holdout, std::uint64_t objectives) {
  write_corpus(group, holdout.corpus);
  group.set_attribute("verdict", holdout.verdict);
  const std::uint64_t windows = holdout.corpus.window_length.size(), rows = holdout.rows.size();
  const Hdf5Object evaluations = group.create_group("evaluations");
  create_all(evaluations, {{"name", Element::text64, {}, {"evaluation"}, ""},
                           {"id", Element::i64, {}, {"evaluation"}, ""},
                           {"nll_nats", Element::f64, {windows}, {"evaluation", "window"}, "nats"},
                           {"tokens", Element::i64, {windows}, {"evaluation", "window"}, "tokens"},
                           {"objectives", Element::f64, {objectives}, {"evaluation", "objective"}, "perplexity"},
                           {"status", Element::status, {}, {"evaluation"}, ""}});
  std::vector<std::string> names;
  std::vector<std::int64_t> ids, tokens;
  std::vector<double> nll_nats, values;
  std::vector<std::int8_t> statuses;
  for (const StoreHoldoutRow& row : holdout.rows) {
    if (row.result.windows.size() != windows || row.result.objectives.size() != objectives)
      throw std::logic_error("StoreWriter::finish: a holdout row's windows or objectives do not fit");
    names.push_back(row.name);
    ids.push_back(row.id);
    statuses.push_back(static_cast<std::int8_t>(row.result.status));
    values.insert(values.end(), row.result.objectives.begin(), row.result.objectives.end());
    for (const WindowScore& score : row.result.windows) {
      nll_nats.push_back(score.nll_nats);
      tokens.push_back(score.tokens);
    }
  }
  if (rows == 0) return;
  evaluations.open_dataset("name").append_text(names);
  evaluations.open_dataset("id").append<std::int64_t>(ids, rows);
  evaluations.open_dataset("nll_nats").append<double>(nll_nats, rows);
  evaluations.open_dataset("tokens").append<std::int64_t>(tokens, rows);
  evaluations.open_dataset("objectives").append<double>(values, rows);
  evaluations.open_dataset("status").append<std::int8_t>(statuses, rows);
}

void write_stage(const Hdf5Object& stages, const StoreStage& stage, std::uint64_t pairs, std::uint64_t windows) {
  const std::uint64_t objectives = count_objectives(stage.objectives);
  const Hdf5Object group = stages.create_group(stage.name);
  group.set_attribute("index", std::int64_t{stage.index});
  group.set_attribute("target_length", stage.target_length);
  group.set_attribute("base", stage.base);
  group.set_attribute("strategy", stage.strategy);
  group.set_attribute("options", stage.options);
  group.set_attribute("objectives", stage.objectives);
  group.set_attribute("budget", stage.budget);
  group.set_attribute("status", stage.status);
  group.set_attribute("stop_reason", stage.stop_reason);
  if (!stage.baselines.empty()) group.set_attribute("baselines", stage.baselines);
  if (!stage.base_factors.empty()) group.write_fixed("base_factors", stage.base_factors, "pair");
  if (!stage.original_objectives.empty())
    group.write_fixed("original_objectives", stage.original_objectives, "objective");

  create_all(group.create_group("evaluations"),
             {{"id", Element::i64, {}, {"evaluation"}, ""},
              {"generation", Element::i32, {}, {"evaluation"}, ""},
              {"origin", Element::origin, {}, {"evaluation"}, ""},
              {"parents", Element::i64, {2}, {"evaluation", "parent"}, ""},
              {"factors", Element::f64, {pairs}, {"evaluation", "pair"}, ""},
              {"start_tokens", Element::i32, {}, {"evaluation"}, "tokens"},
              {"attention_factor", Element::f64, {}, {"evaluation"}, ""},
              {"nll_nats", Element::f64, {windows}, {"evaluation", "window"}, "nats"},
              {"tokens", Element::i64, {windows}, {"evaluation", "window"}, "tokens"},
              {"objectives", Element::f64, {objectives}, {"evaluation", "objective"}, "perplexity"},
              {"status", Element::status, {}, {"evaluation"}, ""},
              {"reason", Element::text64, {}, {"evaluation"}, ""},
              {"cost", Element::f64, {}, {"evaluation"}, "full evaluations"},
              {"elapsed_s", Element::f64, {}, {"evaluation"}, "s"}});
  create_all(group.create_group("generations"), {{"best_id", Element::i64, {}, {"generation"}, ""},
                                                 {"best_objective", Element::f64, {}, {"generation"}, "perplexity"},
                                                 {"evaluations", Element::i64, {}, {"generation"}, ""},
                                                 {"cost", Element::f64, {}, {"generation"}, "full evaluations"},
                                                 {"elapsed_s", Element::f64, {}, {"generation"}, "s"},
                                                 {"hypervolume", Element::f64, {}, {"generation"}, ""},
                                                 {"generation", Element::i32, {}, {"generation"}, ""}});
  create_all(group.create_group("frontier"),
             {{"generation", Element::i32, {}, {"point"}, ""},
              {"id", Element::i64, {}, {"point"}, ""},
              {"objectives", Element::f64, {objectives}, {"point", "objective"}, "perplexity"},
              {"generation_row", Element::i64, {}, {"point"}, ""}});
  create_all(group.create_group("state"),
             {{"bytes", Element::u8, {}, {"byte"}, ""},
              {"index", Element::i64, {3}, {"generation", "generation_offset_length"}, ""}});
}

/// What differs between stages: at the root for the first, in its own group for a later one.
void write_header(const Hdf5Object& owner, const StoreHeader& header) {
  owner.set_attribute("program_version", header.program_version);
  owner.set_attribute("created_utc", header.created_utc);
  owner.set_attribute("command_line", header.command_line);
  owner.set_attribute("seed", header.seed);
  write_model(owner, header.model);
  write_corpus(owner.create_group("corpus"), header.corpus);
  if (header.holdout) {
    write_holdout(owner.create_group("holdout"), *header.holdout, count_objectives(header.stage.objectives));
  }
}

void write_tables(const Hdf5Object& file, const std::vector<StoreTable>& tables) {
  const Hdf5Object group = file.create_group("tables");
  for (const StoreTable& table : tables) {
    if (!is_group_name(table.name)) throw std::logic_error("a table's name is not fit for a group: " + table.name);
    const Hdf5Object entry = group.create_group(table.name);
    entry.write_fixed("long", table.long_factors, "pair");
    entry.write_fixed("short", table.short_factors, "pair");
    entry.set_attribute("attention_factor", table.attention_factor);
    entry.set_attribute("target_length", table.target_length);
    entry.set_attribute("original_length", table.original_length);
    entry.set_attribute("start_tokens", table.start_tokens);
    if (!table.has_short()) continue;
    entry.set_attribute("short_attention_factor", table.short_attention_factor);
    entry.set_attribute("short_start_tokens", table.short_start_tokens);
    entry.set_attribute("switch_length", table.switch_length);
  }
}

/// One value of each row, as a column.
template <typename T, typename Get>
void append_column(const Hdf5Object& dataset, std::span<const StoreRow> rows, Get get) {
  std::vector<T> column;
  column.reserve(rows.size());
  for (const StoreRow& row : rows) column.push_back(static_cast<T>(get(row)));
  dataset.append<T>(column, rows.size());
}

template <typename T>
void append_one(const Hdf5Object& dataset, T value) {
  dataset.append<T>(std::span<const T>(&value, 1), 1);
}

}  // namespace

void create_all(const Hdf5Object& group, const std::vector<DatasetLayout>& layouts) {
  for (const DatasetLayout& layout : layouts) group.create_dataset(layout);
}

void write_model(const Hdf5Object& owner, const StoreModel& model) {
  const Hdf5Object group = owner.create_group("model");
  group.set_attribute("name", model.name);
  group.set_attribute("architecture", model.architecture);
  group.set_attribute("config_sha256", model.config_sha256);
  group.set_attribute("weights_sha256", model.weights_sha256);
  group.set_attribute("parameters", model.parameters);
  group.set_attribute("rotary_dim", model.rotary_dim);
  group.set_attribute("original_length", model.original_length);
  group.set_attribute("theta", model.theta);
}

bool is_group_name(const std::string& name) {
  if (name.empty() || name.size() > static_cast<std::size_t>(kMaxNameBytes) || name == "." || name == "..")
    return false;
  return std::none_of(name.begin(), name.end(), [](unsigned char c) { return c == '/' || c < 0x20 || c == 0x7f; });
}

void write_schema(const Hdf5Object& file, const std::vector<StoreContents>& stages,
                  const std::vector<StoreTable>& tables) {
  file.set_attribute("schema_version", kSchemaVersion);
  const Hdf5Object group = file.create_group("stages");
  for (const StoreContents& contents : stages) {
    const StoreHeader& header = contents.header;
    write_stage(group, header.stage, static_cast<std::uint64_t>(header.model.rotary_dim / 2),
                header.corpus.window_document.size());
    const Hdf5Object own = group.open_group(header.stage.name);
    write_header(&contents == stages.data() ? file : own, header);
  }
  write_tables(file, tables);
}

StageAppender::StageAppender(const Hdf5Object& file, const StoreHeader& header)
    : pairs_(static_cast<std::size_t>(header.model.rotary_dim / 2)),
      windows_(header.corpus.window_document.size()),
      objective_count_(count_objectives(header.stage.objectives)) {
  const Hdf5Object stage = file.open_group("stages").open_group(header.stage.name);
  const Hdf5Object evaluations = stage.open_group("evaluations");
  const std::pair<Hdf5Object*, const char*> columns[] = {{&id_, "id"},
                                                         {&generation_, "generation"},
                                                         {&origin_, "origin"},
                                                         {&parents_, "parents"},
                                                         {&factors_, "factors"},
                                                         {&start_tokens_, "start_tokens"},
                                                         {&attention_factor_, "attention_factor"},
                                                         {&nll_nats_, "nll_nats"},
                                                         {&tokens_, "tokens"},
                                                         {&objectives_, "objectives"},
                                                         {&status_, "status"},
                                                         {&reason_, "reason"},
                                                         {&cost_, "cost"},
                                                         {&elapsed_s_, "elapsed_s"}};
  for (const auto& [dataset, name] : columns) *dataset = evaluations.open_dataset(name);
  const Hdf5Object frontier = stage.open_group("frontier"), state = stage.open_group("state"),
                   generations = stage.open_group("generations");
  frontier_generation_ = frontier.open_dataset("generation");
  frontier_id_ = frontier.open_dataset("id");
  frontier_objectives_ = frontier.open_dataset("objectives");
  frontier_row_ = frontier.open_dataset("generation_row");
  state_bytes_ = state.open_dataset("bytes");
  state_index_ = state.open_dataset("index");
  best_id_ = generations.open_dataset("best_id");
  best_objective_ = generations.open_dataset("best_objective");
  evaluations_ = generations.open_dataset("evaluations");
  generations_cost_ = generations.open_dataset("cost");
  generations_elapsed_s_ = generations.open_dataset("elapsed_s");
  hypervolume_ = generations.open_dataset("hypervolume");
  generations_generation_ = generations.open_dataset("generation");
  row_count_ = static_cast<std::int64_t>(id_.extents().at(0));
  state_size_ = static_cast<std::int64_t>(state_bytes_.extents().at(0));
  generation_count_ = static_cast<std::int64_t>(generations_generation_.extents().at(0));
}

void StageAppender::append_rows(std::span<const StoreRow> rows) {
  std::vector<std::int64_t> parents, tokens;
  std::vector<double> factors, nll_nats, objectives;
  std::vector<std::string> reasons;
  for (const StoreRow& row : rows) {
    const auto& windows = row.result.windows;
    if (row.candidate.id != row_count_ + static_cast<std::int64_t>(&row - rows.data()) ||
        row.candidate.factors.size() != pairs_ || (!windows.empty() && windows.size() != windows_) ||
        row.result.objectives.size() != objective_count_) {
      throw std::logic_error("StoreWriter::append: a row's id, factors, windows or objectives do not fit the store");
    }
    objectives.insert(objectives.end(), row.result.objectives.begin(), row.result.objectives.end());
    parents.insert(parents.end(), std::begin(row.candidate.parents), std::end(row.candidate.parents));
    factors.insert(factors.end(), row.candidate.factors.begin(), row.candidate.factors.end());
    for (std::size_t w = 0; w < windows_; ++w) {
      nll_nats.push_back(windows.empty() ? std::numeric_limits<double>::quiet_NaN() : windows[w].nll_nats);
      tokens.push_back(windows.empty() ? 0 : windows[w].tokens);
    }
    reasons.push_back(row.result.reason);
  }
  const std::size_t n = rows.size();
  append_column<std::int64_t>(id_, rows, [](const StoreRow& r) { return r.candidate.id; });
  append_column<std::int32_t>(generation_, rows, [](const StoreRow& r) { return r.candidate.generation; });
  append_column<std::int8_t>(origin_, rows, [](const StoreRow& r) { return r.candidate.origin; });
  parents_.append<std::int64_t>(parents, n);
  factors_.append<double>(factors, n);
  append_column<std::int32_t>(start_tokens_, rows, [](const StoreRow& r) { return r.candidate.start_tokens; });
  append_column<double>(attention_factor_, rows, [](const StoreRow& r) { return r.candidate.attention_factor; });
  nll_nats_.append<double>(nll_nats, n);
  tokens_.append<std::int64_t>(tokens, n);
  objectives_.append<double>(objectives, n);
  append_column<std::int8_t>(status_, rows, [](const StoreRow& r) { return r.result.status; });
  reason_.append_text(reasons);
  append_column<double>(cost_, rows, [](const StoreRow& r) { return r.result.cost; });
  append_column<double>(elapsed_s_, rows, [](const StoreRow& r) { return r.result.elapsed_s; });
  row_count_ += static_cast<std::int64_t>(n);
}

void StageAppender::append(std::span<const StoreRow> rows, const StoreGeneration& generation, const std::string& state,
                           bool flush) {
  for (const StorePoint& point : generation.frontier) {
    if (point.id < 0 || point.id >= generation.evaluations || point.objectives.size() != objective_count_)
      throw std::logic_error("StoreWriter::append: a point of the frontier does not fit the store");
  }
  if (generation.evaluations != row_count_ + static_cast<std::int64_t>(rows.size())) {
    throw std::logic_error("StoreWriter::append: the generation's evaluations are not the store's rows");
  }
  append_rows(rows);
  for (const StorePoint& point : generation.frontier) {
    append_one<std::int32_t>(frontier_generation_, generation.generation);
    append_one<std::int64_t>(frontier_id_, point.id);
    frontier_objectives_.append<double>(point.objectives, 1);
    append_one<std::int64_t>(frontier_row_, generation_count_);
  }
  state_bytes_.append<std::uint8_t>({reinterpret_cast<const std::uint8_t*>(state.data()), state.size()}, state.size());
  const std::int64_t entry[3] = {generation.generation, state_size_, static_cast<std::int64_t>(state.size())};
  state_index_.append<std::int64_t>(entry, 1);
  state_size_ += entry[2];

  append_one<std::int64_t>(best_id_, generation.best_id);
  append_one<double>(best_objective_, generation.best_objective);
  append_one<std::int64_t>(evaluations_, generation.evaluations);
  append_one<double>(generations_cost_, generation.cost);
  append_one<double>(generations_elapsed_s_, generation.elapsed_s);
  append_one<double>(hypervolume_, generation.hypervolume);
  if (flush) {
    for (const Hdf5Object* dataset : all_but_commit()) dataset->flush_dataset();
  }
  append_one<std::int32_t>(generations_generation_, generation.generation);  // the commit
  ++generation_count_;
  if (flush) generations_generation_.flush_dataset();
}

std::vector<Hdf5Object*> StageAppender::all_but_commit() {
  return {&id_,
          &generation_,
          &origin_,
          &parents_,
          &factors_,
          &start_tokens_,
          &attention_factor_,
          &nll_nats_,
          &tokens_,
          &objectives_,
          &status_,
          &reason_,
          &cost_,
          &elapsed_s_,
          &frontier_generation_,
          &frontier_id_,
          &frontier_objectives_,
          &frontier_row_,
          &state_bytes_,
          &state_index_,
          &best_id_,
          &best_objective_,
          &evaluations_,
          &generations_cost_,
          &generations_elapsed_s_,
          &hypervolume_};
}

void StageAppender::abandon() {
  for (Hdf5Object* dataset : all_but_commit()) dataset->abandon();
  generations_generation_.abandon();
}

}  // namespace longrope::search
