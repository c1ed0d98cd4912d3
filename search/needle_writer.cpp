// Making, continuing and finishing a needle run in a store.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "model/utf8.hpp"
#include "search/growing_store.hpp"
#include "search/needle_schema.hpp"
#include "search/store_schema.hpp"

namespace longrope::search {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kSyncInterval{1};

StoreFile read_whole(const fs::path& file) {
  return {read_any_stages(file), read_store_tables(file), read_needle_runs(file)};
}

std::vector<NeedleRun>::iterator run_named(std::vector<NeedleRun>& runs, const std::string& name) {
  return std::find_if(runs.begin(), runs.end(), [&](const NeedleRun& run) { return run.name == name; });
}

/// The first of their options that differs, as "NAME A but this one B".
std::string option_difference(const std::string& stored, const std::string& job) {
  const auto a = nlohmann::json::parse(stored, nullptr, false), b = nlohmann::json::parse(job, nullptr, false);
  if (!a.is_object() || !b.is_object()) return "options that cannot be read";
  for (const auto& [key, value] : b.items()) {
    const auto at = a.find(key);
    if (at == a.end() || *at != value)
      return fmt::format("{} {} but this one {}", key, at == a.end() ? "none" : model::excerpt(at->dump(), 200),
                         model::excerpt(value.dump(), 200));
  }
  return "options that this one has not";
}

void require_same_run(const fs::path& file, const NeedleRun& stored, const NeedleRun& job) {
  const auto differs = [&](const std::string& what) {
    throw InputError(fmt::format("[store] {}: needle run \"{}\" has {} (another --run, or the same options)",
                                 file.string(), job.name, what));
  };
  const auto compare = [&](const char* what, const auto& a, const auto& b) {
    if (!(a == b)) differs(fmt::format("{} {} but this one {}", what, a, b));
  };
  compare("model config", stored.model.config_sha256, job.model.config_sha256);
  compare("model weights", stored.model.weights_sha256, job.model.weights_sha256);
  compare("seed", stored.seed, job.seed);
  compare("task", stored.task, job.task);
  compare("haystack", stored.haystack, job.haystack);
  compare("scalings", fmt::format("{}", fmt::join(stored.ropes, " ")), fmt::format("{}", fmt::join(job.ropes, " ")));
  compare("lengths", fmt::format("{}", fmt::join(stored.grid.lengths, ",")),
          fmt::format("{}", fmt::join(job.grid.lengths, ",")));
  compare("depths", fmt::format("{}", fmt::join(stored.grid.depths_percent, ",")),
          fmt::format("{}", fmt::join(job.grid.depths_percent, ",")));
  compare("trials", stored.grid.trials, job.grid.trials);
  if (stored.options != job.options) differs(option_difference(stored.options, job.options));
}

}  // namespace

struct NeedleWriter::Impl {
  explicit Impl(const fs::path& path) : store(path) {}

  GrowingStore<NeedleAppender> store;
  std::string name;
  Clock::time_point synced = Clock::now();
};

NeedleWriter::NeedleWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NeedleWriter::~NeedleWriter() = default;
NeedleWriter::NeedleWriter(NeedleWriter&&) noexcept = default;
NeedleWriter& NeedleWriter::operator=(NeedleWriter&&) noexcept = default;

NeedleWriter NeedleWriter::create(const fs::path& path, const NeedleRun& run) {
  if (!is_group_name(run.name)) throw InputError(fmt::format("[store] '{}' cannot name a needle run", run.name));
  auto impl = std::make_unique<Impl>(path);
  impl->name = run.name;
  const fs::path& file = impl->store.file();
  std::error_code error;
  FileLock old_lock;
  StoreFile contents;
  const bool exists = fs::exists(fs::symlink_status(file, error));
  if (exists) {
    old_lock = FileLock::acquire(file, false);
    contents = read_whole(file);
    if (run_named(contents.needles, run.name) != contents.needles.end()) {
      throw InputError(
          fmt::format("[store] {} has a needle run \"{}\" already (--resume continues it, --run names another)",
                      path.string(), run.name));
    }
  }
  contents.needles.push_back(run);
  impl->store.start(contents, exists, impl->name);
  return NeedleWriter(std::move(impl));
}

NeedleWriter NeedleWriter::resume(const fs::path& path, NeedleRun& run) {
  auto impl = std::make_unique<Impl>(path);
  impl->name = run.name;
  const FileLock old_lock = FileLock::acquire(impl->store.file(), false);
  StoreFile contents = read_whole(impl->store.file());
  const auto found = run_named(contents.needles, run.name);
  if (found == contents.needles.end())
    throw InputError(fmt::format("[store] {} has no needle run \"{}\" to resume", path.string(), run.name));
  require_same_run(impl->store.file(), *found, run);
  run.created_utc = found->created_utc;
  run.command_line = found->command_line;
  run.rows = found->rows;
  found->status = run.status;
  impl->store.start(contents, true, impl->name);
  return NeedleWriter(std::move(impl));
}

void NeedleWriter::append(const NeedleRow& row) {
  impl_->store.append([&](NeedleAppender& appender, const FileLock& lock) {
    appender.append({&row, 1}, true);
    if (Clock::now() - impl_->synced < kSyncInterval) return;
    lock.sync(impl_->store.file());
    impl_->synced = Clock::now();
  });
}

void NeedleWriter::finish(const std::string& status) {
  impl_->store.finish([&] {
    StoreFile contents = read_whole(impl_->store.file());
    const auto run = run_named(contents.needles, impl_->name);
    if (run == contents.needles.end()) throw std::logic_error("NeedleWriter: the run is gone");
    run->status = status;
    std::sort(run->rows.begin(), run->rows.end(),
              [](const NeedleRow& a, const NeedleRow& b) { return a.cell < b.cell; });
    return contents;
  });
}

}  // namespace longrope::search
