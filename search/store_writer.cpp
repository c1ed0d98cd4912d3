// Making, continuing and finishing a store. The file that bears the name is always whole: it is made under a temporary
// name and renamed, and grows only by appending.
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "kernels/error.hpp"
#include "search/growing_store.hpp"
#include "search/objective.hpp"
#include "search/store_match.hpp"
#include "search/store_schema.hpp"

namespace longrope::search {
namespace {

namespace fs = std::filesystem;

void require_writable(const StoreHeader& header) {
  const std::int64_t pairs = header.model.rotary_dim / 2;
  const StoreCorpus& corpus = header.corpus;
  const std::size_t windows = corpus.window_document.size();
  if (!(pairs >= 1 && pairs <= kMaxPairs)) {
    throw InputError(
        fmt::format("[store] rotary_dim must be from 2 to {} but is {}", 2 * kMaxPairs, header.model.rotary_dim));
  }
  if (!(windows >= 1 && windows <= static_cast<std::size_t>(kMaxWindows))) {
    throw InputError(fmt::format("[store] the number of windows must be from 1 to {} but is {}", kMaxWindows, windows));
  }
  if (windows % count_objectives(header.stage.objectives) != 0)
    throw std::logic_error("StoreHeader: the windows are not the same number for each objective");
  const std::vector<double>& base = header.stage.base_factors;
  if (!base.empty() && std::cmp_not_equal(base.size(), pairs))
    throw std::logic_error("StoreHeader: base_factors are not rotary_dim / 2");
  if (!is_group_name(header.stage.name))
    throw InputError(fmt::format("[store] '{}' cannot name a stage", header.stage.name));
  if (corpus.window_first_token.size() != windows || corpus.window_length.size() != windows ||
      corpus.document_tokens.size() != corpus.document_names.size()) {
    throw std::logic_error("StoreHeader: the corpus' columns differ in length");
  }
}

/// The stage of this name; the first where there is none, for whoever compares them to say what differs.
StoreContents& stage_named(std::vector<StoreContents>& stages, const std::string& name) {
  const auto found =
      std::find_if(stages.begin(), stages.end(), [&](const StoreContents& s) { return s.header.stage.name == name; });
  return found == stages.end() ? stages.front() : *found;
}

/// Throws InputError unless `header` may become the last stage.
void require_room_for(const fs::path& file, const std::vector<StoreContents>& stages, const StoreHeader& header) {
  if (stages.size() >= kMaxStages)
    throw InputError(fmt::format("[store] {} must hold fewer than {} stages", file.string(), kMaxStages));
  const StoreModel& first = stages.front().header.model;
  if (first.rotary_dim != header.model.rotary_dim || first.theta != header.model.theta ||
      first.original_length != header.model.original_length) {
    throw InputError(
        fmt::format("[store] {} is of a model with rotary_dim {}, theta {:g}, {} tokens but this one has {}, {:g}, {}",
                    file.string(), first.rotary_dim, first.theta, first.original_length, header.model.rotary_dim,
                    header.model.theta, header.model.original_length));
  }
  for (const StoreContents& stage : stages) {
    if (stage.header.stage.name == header.stage.name)
      throw InputError(fmt::format("[store] {} has a stage \"{}\" already (--resume continues it)", file.string(),
                                   header.stage.name));
  }
  if (stages.back().header.stage.index >= header.stage.index)
    throw std::logic_error("StoreWriter::add_stage: the stage's index is not above those in the store");
}

}  // namespace

struct StoreWriter::Impl {
  Impl(const fs::path& path, const StoreHeader& of) : store(path), header(of) {}

  GrowingStore<StageAppender> store;
  StoreHeader header;
  std::vector<StoreTable> tables;
  std::vector<NeedleRun> needles;
};

StoreWriter::StoreWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StoreWriter::~StoreWriter() = default;
StoreWriter::StoreWriter(StoreWriter&&) noexcept = default;
StoreWriter& StoreWriter::operator=(StoreWriter&&) noexcept = default;

StoreWriter StoreWriter::create(const fs::path& path, const StoreHeader& header) {
  require_writable(header);
  auto impl = std::make_unique<Impl>(path, header);
  std::error_code error;
  if (fs::exists(fs::symlink_status(impl->store.file(), error))) {
    throw InputError(fmt::format("[store] {} exists already (--resume continues it)", path.string()));
  }
  StoreContents contents;
  contents.header = header;
  impl->store.start({{contents}, {}, {}}, false, header);
  return StoreWriter(std::move(impl));
}

StoreWriter StoreWriter::add_stage(const fs::path& path, const StoreHeader& header) {
  require_writable(header);
  auto impl = std::make_unique<Impl>(path, header);
  const FileLock old_lock = FileLock::acquire(impl->store.file(), false);
  std::vector<StoreContents> stages = read_stages(impl->store.file());
  require_room_for(impl->store.file(), stages, header);
  impl->tables = read_store_tables(impl->store.file());
  impl->needles = read_needle_runs(impl->store.file());
  stages.emplace_back().header = header;
  impl->store.start({stages, impl->tables, impl->needles}, true, impl->header);
  return StoreWriter(std::move(impl));
}

StoreWriter StoreWriter::resume(const fs::path& path, const StoreHeader& header, StoreContents& contents) {
  require_writable(header);
  auto impl = std::make_unique<Impl>(path, header);
  const FileLock old_lock = FileLock::acquire(impl->store.file(), false);
  std::vector<StoreContents> stages = read_stages(impl->store.file());
  StoreContents& found = stage_named(stages, header.stage.name);
  require_same_job(impl->store.file(), found.header, header);
  impl->tables = read_store_tables(impl->store.file());
  impl->needles = read_needle_runs(impl->store.file());

  impl->header.created_utc = found.header.created_utc;
  impl->header.command_line = found.header.command_line;
  found.header = impl->header;
  impl->store.start({stages, impl->tables, impl->needles}, true, impl->header);
  contents = std::move(found);
  return StoreWriter(std::move(impl));
}

void StoreWriter::append(const std::vector<StoreRow>& rows, const StoreGeneration& generation,
                         const std::string& strategy_state) {
  impl_->store.append([&](StageAppender& appender, const FileLock& lock) {
    appender.append(rows, generation, strategy_state, true);
    lock.sync(impl_->store.file());
  });
}

void StoreWriter::finish(const std::string& status, const std::vector<StoreTable>& tables, const StoreEnding& ending) {
  for (const StoreTable& table : tables) {
    std::erase_if(impl_->tables, [&](const StoreTable& old) { return old.name == table.name; });
    impl_->tables.push_back(table);
  }
  impl_->store.finish([&]() -> StoreFile {
    std::vector<StoreContents> stages = read_stages(impl_->store.file());
    StoreContents& contents = stage_named(stages, impl_->header.stage.name);
    contents.header.stage.status = status;
    contents.header.stage.stop_reason = ending.stop_reason;
    if (contents.header.holdout) {
      contents.header.holdout->rows = ending.holdout_rows;
      contents.header.holdout->verdict = ending.holdout_verdict;
    }
    return {stages, impl_->tables, impl_->needles};
  });
}

}  // namespace longrope::search
