// Nothing is written half: a temporary name beside the target, fsync, rename.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace longrope::model {

/// Flushes a file or directory to the disk. Throws RuntimeError.
void sync_path(const std::filesystem::path& path);

/// Writes `bytes` to `file` whole or not at all; refuses to replace. Throws InputError if `file` exists or its
/// directory cannot be written, RuntimeError if the disk fails.
void write_new_file(const std::filesystem::path& file, const std::string& bytes);
/// The same, in the place of what is there: a reader sees the old file or the new one.
void replace_file(const std::filesystem::path& file, const std::string& bytes);

/// A file that is written piece by piece and appears under its final name, complete, at commit(), or never.
class NewFile {
 public:
  enum class Existing : std::uint8_t { refuse, replace };

  /// Throws InputError if `target` exists and is not to be replaced, or if its directory cannot be written.
  explicit NewFile(const std::filesystem::path& target, Existing existing = Existing::refuse);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  /// Appends; small pieces are gathered. Throws RuntimeError if the disk fails.
  void append(std::string_view bytes);
  std::int64_t size() const { return size_; }
  /// Flushes to the disk and renames. Throws RuntimeError; nothing is left then.
  void commit();

 private:
  void write(std::string_view bytes);

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  std::string gathered_;
  std::int64_t size_ = 0;
  int descriptor_ = -1;
};

/// A file and FILE.README.md beside it: both, or neither.
class FileWithReadme {
 public:
  /// Throws InputError if one of them exists or their directory cannot be written.
  FileWithReadme(const std::filesystem::path& target, const std::string& readme);

  NewFile& main() { return main_; }
  void commit();

 private:
  std::filesystem::path readme_path_;
  NewFile main_;
  NewFile readme_;
};

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
