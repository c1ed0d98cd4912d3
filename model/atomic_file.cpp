#include "model/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/error.hpp"

namespace longrope::model {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kGatheredBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxWriteBytes = std::size_t{64} << 20;  // a signal is answered between two of these

/// `target` without a trailing slash, made absolute.
fs::path normalised(const fs::path& target) {
  fs::path path = fs::absolute(target).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

/// A sibling of `target` that the rename can replace it with.
fs::path temporary_beside(const fs::path& target) {
  return target.parent_path() / fmt::format(".{}.{}.tmp", target.filename().string(), ::getpid());
}

void require_absent(const fs::path& target) {
  std::error_code error;
  if (fs::symlink_status(target, error).type() != fs::file_type::not_found) {
    throw InputError(fmt::format("[--out] {} exists already (choose another path, or remove it)", target.string()));
  }
}

[[noreturn]] void fail(const fs::path& path, const char* doing, int code) {
  const std::string message = fmt::format("[{}] cannot {}: {}", path.string(), doing, std::strerror(code));
  if (code == ENOENT || code == ENOTDIR || code == EACCES || code == EPERM || code == EROFS || code == EISDIR) {
    throw InputError(message);
  }
  throw RuntimeError(message);
}

}  // namespace

void sync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path, "open", errno);
  const int result = ::fsync(fd);
  const int code = errno;
  ::close(fd);
  if (result != 0 && code != EINVAL && code != ENOTSUP)
    throw RuntimeError(fmt::format("[{}] fsync failed: {}", path.string(), std::strerror(code)));
}

NewFile::NewFile(const fs::path& target, Existing existing)
    : target_(normalised(target)), temporary_(temporary_beside(target_)) {
  if (existing == Existing::refuse) require_absent(target_);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(target_, "be written", errno);
}

NewFile::~NewFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void NewFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMaxWriteBytes));
    if (count > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      fail(target_, "be written", errno);
    }
  }
}

void NewFile::append(std::string_view bytes) {
  size_ += static_cast<std::int64_t>(bytes.size());
  if (gathered_.size() + bytes.size() <= kGatheredBytes) {
    gathered_ += bytes;
    return;
  }
  write(gathered_);
  gathered_.clear();
  if (bytes.size() >= kGatheredBytes) {
    write(bytes);
  } else {
    gathered_ = bytes;
  }
}

void NewFile::commit() {
  write(gathered_);
  gathered_.clear();
  if (::fsync(descriptor_) != 0) fail(target_, "be written", errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail(target_, "be written", errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(target_, "be written", errno);
  temporary_.clear();
  sync_path(target_.parent_path());
}

void write_new_file(const fs::path& file, const std::string& bytes) {
  NewFile target(file);
  target.append(bytes);
  target.commit();
}

void replace_file(const fs::path& file, const std::string& bytes) {
  NewFile target(file, NewFile::Existing::replace);
  target.append(bytes);
  target.commit();
}

FileWithReadme::FileWithReadme(const fs::path& target, const std::string& readme)
    : readme_path_(normalised(target).string() + ".README.md"), main_(target), readme_(readme_path_) {
  readme_.append(readme);
}

void FileWithReadme::commit() {
  readme_.commit();
  try {
    main_.commit();
  } catch (...) {
    ::unlink(readme_path_.c_str());
    throw;
  }
}

NewDirectory::NewDirectory(const fs::path& target)
    : target_(normalised(target)), temporary_(temporary_beside(target_)) {
  require_absent(target_);
  std::error_code error;
  fs::remove_all(temporary_, error);
  if (::mkdir(temporary_.c_str(), 0777) != 0) fail(target_, "be created", errno);
}

NewDirectory::~NewDirectory() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);
}

void NewDirectory::commit() {
  for (const auto& entry : fs::directory_iterator(temporary_)) {
    if (entry.is_regular_file() && !entry.is_symlink()) sync_path(entry.path());
  }
  sync_path(temporary_);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(target_, "be created", errno);
  temporary_.clear();
  sync_path(target_.parent_path());
}

}  // namespace longrope::model
