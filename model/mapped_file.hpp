// A regular file mapped into memory, read-only and private.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace longrope::model {

/// Whether something is at `path`; false also where that cannot be known.
bool path_exists(const std::filesystem::path& path);

/// Owns the mapping; `bytes()` is valid while it lives. Moves keep the address.
class MappedFile {
 public:
  /// Throws InputError: absent, unreadable, or not a regular file. An empty file maps to no bytes.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  std::int64_t size() const { return static_cast<std::int64_t>(size_); }

 private:
  void unmap() noexcept;

  std::filesystem::path path_;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The bytes of a regular file of at most `max_bytes`, not empty. Throws InputError as MappedFile, and when larger or
/// empty.
std::string read_small_file(const std::filesystem::path& path, std::int64_t max_bytes);

}  // namespace longrope::model
