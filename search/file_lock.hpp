// An exclusive lock on a file's inode, held by a descriptor: it goes with the process, however that dies, and follows
// the file through a rename. fcntl open file description locks (Linux), so that other descriptors of the same process,
// HDF5's among them, neither meet it nor drop it by closing.
#pragma once

#include <filesystem>
#include <utility>

namespace longrope::search {

class FileLock {
 public:
  FileLock() = default;
  ~FileLock();
  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  /// Opens the file and locks it; on a file system without locks, only opens it. Throws InputError: no such file
  /// (unless `create`), not a regular file, no permission, "is being written by another process". RuntimeError: the
  /// disk fails.
  static FileLock acquire(const std::filesystem::path& file, bool create);

  /// Makes what was written to the file, by whatever descriptor, survive a power failure. Throws RuntimeError.
  void sync(const std::filesystem::path& file) const;

 private:
  int descriptor_ = -1;
};

/// Renames over `to` and makes the renaming durable. With `replace` false, throws InputError if `to` exists.
void durable_rename(const std::filesystem::path& from, const std::filesystem::path& to, bool replace);

}  // namespace longrope::search
