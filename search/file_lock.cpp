#include "search/file_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kernels/error.hpp"

namespace longrope::search {
namespace {

bool is_disk_failure(int error) {
  return error == ENOSPC || error == EDQUOT || error == EIO || error == EMFILE || error == ENFILE || error == ENOMEM;
}

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& file, int error) {
  const std::string message = fmt::format("[store] cannot {} {}: {}", what, file.string(), std::strerror(error));
  if (is_disk_failure(error)) throw RuntimeError(message);
  throw InputError(message);
}

/// False: another process holds it.
bool lock(int descriptor, const std::filesystem::path& file) {
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = off_t{1} << 62;  // far behind the data, where no mandatory lock keeps a reader out
  range.l_len = 1;
  if (::fcntl(descriptor, F_OFD_SETLK, &range) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  const bool no_locks_here =
      errno == ENOLCK || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS || errno == EOVERFLOW;
  if (!no_locks_here) fail("lock", file, errno);
  return true;
}

}  // namespace

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

FileLock FileLock::acquire(const std::filesystem::path& file, bool create) {
  // The file may be renamed away or over between opening and locking: lock what the name stands for, or try again.
  for (int attempt = 0; attempt < 100; ++attempt) {
    FileLock held;
    held.descriptor_ = ::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | (create ? O_CREAT : 0), 0666);
    if (held.descriptor_ < 0) fail(create ? "create" : "open for writing", file, errno);
    struct stat opened {
    }, named{};
    if (::fstat(held.descriptor_, &opened) != 0) fail("examine", file, errno);
    if (!S_ISREG(opened.st_mode)) throw InputError(fmt::format("[store] {} is not a regular file", file.string()));
    if (!lock(held.descriptor_, file)) {
      throw InputError(fmt::format("[store] {} is being written by another process", file.string()));
    }
    if (::stat(file.c_str(), &named) == 0 && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev)
      return held;
  }
  throw InputError(fmt::format("[store] {} is being written by another process", file.string()));
}

void FileLock::sync(const std::filesystem::path& file) const {
  if (::fsync(descriptor_) == 0) return;
  throw RuntimeError(fmt::format("[store] cannot write {} to disk: {}", file.string(), std::strerror(errno)));
}

void durable_rename(const std::filesystem::path& from, const std::filesystem::path& to, bool replace) {
  int result = -1;
  if (!replace) {
    result = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
    if (result != 0 && errno == EEXIST) {
      throw InputError(fmt::format("[store] {} exists already (--resume continues it)", to.string()));
    }
    replace = result != 0 && (errno == EINVAL || errno == ENOSYS);  // a file system that cannot tell
  }
  if (replace) result = ::rename(from.c_str(), to.c_str());
  if (result != 0) fail("rename a temporary file to", to, errno);

  const std::filesystem::path parent = to.has_parent_path() ? to.parent_path() : std::filesystem::path(".");
  const int directory = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;  // renamed, and a directory that cannot be read cannot be synchronized
  ::fsync(directory);
  ::close(directory);
}

}  // namespace longrope::search
