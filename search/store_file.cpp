#include "search/store_file.hpp"

#include <system_error>

#include "search/needle_schema.hpp"
#include "search/store_schema.hpp"

namespace longrope::search {

namespace fs = std::filesystem;

namespace {

fs::path temporary_name(const fs::path& file) {
  return file.parent_path() / fmt::format(".{}.partial", file.filename().string());
}

}  // namespace

fs::path resolve_store(const fs::path& file) {
  if (file.filename().empty()) throw InputError(fmt::format("[store] '{}' must name a file", file.string()));
  std::error_code error;
  if (!fs::is_symlink(file, error)) return file;
  fs::path target = fs::weakly_canonical(file, error);
  return error ? file : target;
}

FileLock write_whole_store(const fs::path& file, const StoreFile& all, bool replace) {
  const fs::path temporary = temporary_name(file);
  FileLock lock = FileLock::acquire(temporary, true);  // a leftover of a killed process is taken over
  try {
    write_store_checked(file, [&] {
      Hdf5Object target = Hdf5Object::create_file(temporary);
      write_schema(target, all.stages, all.tables);
      write_needle_schema(target, all.needles);
      for (const StoreContents& contents : all.stages) {
        StageAppender appender(target, contents.header);
        std::size_t first = 0;
        for (std::size_t g = 0; g < contents.generations.size(); ++g) {
          const StoreGeneration& generation = contents.generations[g];
          const auto last = static_cast<std::size_t>(generation.evaluations);
          appender.append(std::span(contents.rows).subspan(first, last - first), generation, contents.states[g], false);
          first = last;
        }
      }
      target.flush_file();
      target.close();
    });
    lock.sync(file);
    durable_rename(temporary, file, replace);
  } catch (...) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
  return lock;
}

}  // namespace longrope::search
