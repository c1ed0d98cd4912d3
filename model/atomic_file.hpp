// Nothing is written half: a temporary name beside the target, fsync, rename.
#pragma once

#include <filesystem>
#include <string>

namespace longrope::model {

/// Flushes a file or directory to the disk. Throws RuntimeError.
void sync_path(const std::filesystem::path& path);

/// Writes `bytes` to `file` whole or not at all; refuses to replace. Throws InputError if `file` exists or its
/// directory cannot be written, RuntimeError if the disk fails.
void write_new_file(const std::filesystem::path& file, const std::string& bytes);
/// The same, in the place of what is there: a reader sees the old file or the new one.
void replace_file(const std::filesystem::path& file, const std::string& bytes);

/// A directory that appears under its final name, complete, at commit(), or never.
class NewDirectory {
 public:
  /// Throws InputError if `target` exists or its parent cannot be written.
  explicit NewDirectory(const std::filesystem::path& target);
  ~NewDirectory();
  NewDirectory(const NewDirectory&) = delete;
  NewDirectory& operator=(const NewDirectory&) = delete;

  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
};

}  // namespace longrope::model
