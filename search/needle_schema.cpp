#include "search/needle_schema.hpp"

#include <utility>

#include "search/store_schema.hpp"

namespace longrope::search {
namespace {

void write_run(const Hdf5Object& parent, const NeedleRun& run) {
  const Hdf5Object group = parent.create_group(run.name);
  group.set_attribute("program_version", run.program_version);
  group.set_attribute("created_utc", run.created_utc);
  group.set_attribute("command_line", run.command_line);
  group.set_attribute("seed", run.seed);
  group.set_attribute("task", run.task);
  group.set_attribute("haystack", run.haystack);
  group.set_attribute("options", run.options);
  group.set_attribute("status", run.status);
  group.set_attribute("trials", run.grid.trials);
  write_model(group, run.model);
  group.write_fixed("ropes", run.ropes, "rope");
  group.write_fixed("documents", run.documents, "document");
  group.write_fixed("lengths", run.grid.lengths, "length");
  group.write_fixed("depths_percent", run.grid.depths_percent, "depth");
  create_all(group.create_group("cells"), {{"rope", Element::i32, {}, {"cell"}, ""},
                                           {"length", Element::i64, {}, {"cell"}, "tokens"},
                                           {"depth_percent", Element::f64, {}, {"cell"}, "percent"},
                                           {"trial", Element::i64, {}, {"cell"}, ""},
                                           {"document", Element::i64, {}, {"cell"}, ""},
                                           {"prompt_tokens", Element::i64, {}, {"cell"}, "tokens"},
                                           {"answer_tokens", Element::i64, {}, {"cell"}, "tokens"},
                                           {"exact", Element::i32, {}, {"cell"}, ""},
                                           {"nll_nats", Element::f64, {}, {"cell"}, "nats"},
                                           {"status", Element::status, {}, {"cell"}, ""},
                                           {"answer", Element::text256, {}, {"cell"}, ""},
                                           {"generated", Element::text256, {}, {"cell"}, ""},
                                           {"elapsed_s", Element::f64, {}, {"cell"}, "s"},
                                           {"cell", Element::i64, {}, {"cell"}, ""}});
}

template <typename T, typename Get>
void append_column(const Hdf5Object& dataset, std::span<const NeedleRow> rows, Get get) {
  std::vector<T> values;
  for (const NeedleRow& row : rows) values.push_back(static_cast<T>(get(row)));
  dataset.append<T>(values, rows.size());
}

template <typename Get>
void append_texts(const Hdf5Object& dataset, std::span<const NeedleRow> rows, Get get) {
  std::vector<std::string> values;
  for (const NeedleRow& row : rows) values.push_back(get(row));
  dataset.append_text(values);
}

}  // namespace

void write_needle_schema(const Hdf5Object& file, const std::vector<NeedleRun>& runs) {
  if (runs.empty()) return;
  const Hdf5Object group = file.create_group("needle");
  for (const NeedleRun& run : runs) {
    write_run(group, run);
    if (!run.rows.empty()) NeedleAppender(file, run.name).append(run.rows, false);
  }
}

NeedleAppender::NeedleAppender(const Hdf5Object& file, const std::string& name) {
  const Hdf5Object cells = file.open_group("needle").open_group(name).open_group("cells");
  const std::pair<Hdf5Object*, const char*> columns[] = {{&rope_, "rope"},
                                                         {&length_, "length"},
                                                         {&depth_, "depth_percent"},
                                                         {&trial_, "trial"},
                                                         {&document_, "document"},
                                                         {&prompt_tokens_, "prompt_tokens"},
                                                         {&answer_tokens_, "answer_tokens"},
                                                         {&exact_, "exact"},
                                                         {&nll_nats_, "nll_nats"},
                                                         {&status_, "status"},
                                                         {&answer_, "answer"},
                                                         {&generated_, "generated"},
                                                         {&elapsed_s_, "elapsed_s"},
                                                         {&cell_, "cell"}};
  for (const auto& [dataset, column] : columns) *dataset = cells.open_dataset(column);
}

void NeedleAppender::append(std::span<const NeedleRow> rows, bool flush) {
  append_column<std::int32_t>(rope_, rows, [](const NeedleRow& row) { return row.rope; });
  append_column<std::int64_t>(length_, rows, [](const NeedleRow& row) { return row.length; });
  append_column<double>(depth_, rows, [](const NeedleRow& row) { return row.depth_percent; });
  append_column<std::int64_t>(trial_, rows, [](const NeedleRow& row) { return row.trial; });
  append_column<std::int64_t>(document_, rows, [](const NeedleRow& row) { return row.document; });
  append_column<std::int64_t>(prompt_tokens_, rows, [](const NeedleRow& row) { return row.prompt_tokens; });
  append_column<std::int64_t>(answer_tokens_, rows, [](const NeedleRow& row) { return row.answer_tokens; });
  append_column<std::int32_t>(exact_, rows, [](const NeedleRow& row) { return row.exact; });
  append_column<double>(nll_nats_, rows, [](const NeedleRow& row) { return row.nll_nats; });
  append_column<std::int8_t>(status_, rows, [](const NeedleRow& row) { return row.status; });
  append_texts(answer_, rows, [](const NeedleRow& row) { return row.answer; });
  append_texts(generated_, rows, [](const NeedleRow& row) { return row.generated; });
  append_column<double>(elapsed_s_, rows, [](const NeedleRow& row) { return row.elapsed_s; });
  if (flush) {
    for (const Hdf5Object* dataset : all_but_commit()) dataset->flush_dataset();
  }
  append_column<std::int64_t>(cell_, rows, [](const NeedleRow& row) { return row.cell; });  // the commit
  if (flush) cell_.flush_dataset();
}

std::vector<Hdf5Object*> NeedleAppender::all_but_commit() {
  return {&rope_,  &length_,   &depth_,  &trial_,  &document_,  &prompt_tokens_, &answer_tokens_,
          &exact_, &nll_nats_, &status_, &answer_, &generated_, &elapsed_s_};
}

void NeedleAppender::abandon() {
  for (Hdf5Object* dataset : all_but_commit()) dataset->abandon();
  cell_.abandon();
}

}  // namespace longrope::search
