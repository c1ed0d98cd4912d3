// The whole file of a store: made under a temporary name, locked, and renamed. Everything that is in it is carried over
// by whoever writes it anew.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "kernels/error.hpp"
#include "search/file_lock.hpp"
#include "search/hdf5_file.hpp"
#include "search/needle_store.hpp"
#include "search/store.hpp"

namespace longrope::search {

struct StoreFile {
  std::vector<StoreContents> stages;
  std::vector<StoreTable> tables;
  std::vector<NeedleRun> needles;
};

/// A link stands for the file it points to. Throws InputError for a path without a name.
std::filesystem::path resolve_store(const std::filesystem::path& file);

/// Writes a whole store beside `file` and renames it to `file`; with `replace` false, InputError if that exists. The
/// lock that is returned holds it.
FileLock write_whole_store(const std::filesystem::path& file, const StoreFile& contents, bool replace);

/// Calls write(); failures of HDF5 in it are those of the disk.
template <typename Write>
void write_store_checked(const std::filesystem::path& file, Write write) {
  const Hdf5Silence silence;
  try {
    write();
  } catch (const Hdf5Error& failure) {
    throw RuntimeError(fmt::format("[store] cannot write {}: {}", file.string(), failure.what()));
  }
}

}  // namespace longrope::search
