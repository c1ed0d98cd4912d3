// A store that one writer grows: locked, open for SWMR, appended to, and written whole where appending cannot say it.
// Where a write fails the file is left as a kill would leave it: all that was committed before can be read.
#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <utility>

#include "search/store_file.hpp"

namespace longrope::search {

/// Appender: made with (Hdf5Object& file, description), has abandon().
template <typename Appender>
class GrowingStore {
 public:
  explicit GrowingStore(const std::filesystem::path& path) : file_(resolve_store(path)) {}

  const std::filesystem::path& file() const { return file_; }
  const FileLock& lock() const { return lock_; }

  /// Writes the store whole (see write_whole_store) and opens it for appending to what `description` names.
  template <typename Description>
  void start(const StoreFile& contents, bool replace, const Description& description) {
    lock_ = write_whole_store(file_, contents, replace);
    write_store_checked(file_, [&] {
      hdf5_ = Hdf5Object::open_swmr_writer(file_);
      appender_ = std::make_unique<Appender>(hdf5_, description);
    });
  }

  /// Calls write(appender, lock). Throws RuntimeError where the disk fails, then and ever after.
  template <typename Write>
  void append(Write write) {
    require_open();
    try {
      write_store_checked(file_, [&] { write(*appender_, lock_); });
    } catch (const RuntimeError&) {
      give_up();
      throw;
    }
  }

  /// Writes what contents() returns as the whole store, and closes it: groups and attributes cannot be added to a file
  /// by anything that survives a kill in the midst of it.
  template <typename Contents>
  void finish(Contents contents) {
    require_open();
    try {
      lock_ = write_whole_store(file_, contents(), true);
    } catch (...) {
      give_up();
      throw;
    }
    appender_.reset();
    hdf5_ = Hdf5Object();
  }

 private:
  void require_open() const {
    if (failed_)
      throw RuntimeError(
          fmt::format("[store] {} was given up after a failed write (--resume continues it)", file_.string()));
    if (!appender_) throw std::logic_error("GrowingStore: append or finish after finish");
  }

  /// Closing a file that could not be written leaves a superblock that promises more than there is.
  void give_up() {
    failed_ = true;
    appender_->abandon();
    appender_.reset();
    hdf5_.abandon();
  }

  std::filesystem::path file_;
  FileLock lock_;
  Hdf5Object hdf5_;
  std::unique_ptr<Appender> appender_;  // after hdf5_: closed before it
  bool failed_ = false;
};

}  // namespace longrope::search
