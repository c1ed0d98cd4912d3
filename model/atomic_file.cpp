#include "model/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/error.hpp"

namespace longrope::model {
namespace {

namespace fs = std::filesystem;

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

void write_new_file(const fs::path& file, const std::string& bytes) {
  require_absent(normalised(file));
  replace_file(file, bytes);
}

void replace_file(const fs::path& file, const std::string& bytes) {
  const fs::path target = normalised(file);
  const fs::path temporary = temporary_beside(target);
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) fail(target, "be written", errno);
  std::size_t written = 0;
  int code = 0;
  while (written < bytes.size() && code == 0) {
    const ssize_t count = ::write(fd, bytes.data() + written, bytes.size() - written);
    if (count > 0) {
      written += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      code = errno;
    }
  }
  if (code == 0 && ::fsync(fd) != 0) code = errno;
  if (::close(fd) != 0 && code == 0) code = errno;
  if (code == 0 && ::rename(temporary.c_str(), target.c_str()) != 0) code = errno;
  if (code != 0) {
    ::unlink(temporary.c_str());
    fail(target, "be written", code);
  }
  sync_path(target.parent_path());
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
