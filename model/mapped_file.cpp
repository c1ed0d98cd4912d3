#include "model/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "kernels/error.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

/// Closes a file descriptor.
struct Descriptor {
  int value;
  explicit Descriptor(int v) : value(v) {}
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

bool path_exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer before it is refused.
  const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.value < 0) {
    throw InputError(fmt::format("[{}] must be a readable file but got: {}", path_text(path_), reason(errno)));
  }
  struct stat status {};
  if (::fstat(file.value, &status) != 0) {
    throw InputError(fmt::format("[{}] must be a readable file but got: {}", path_text(path_), reason(errno)));
  }
  if (!S_ISREG(status.st_mode)) {
    throw InputError(fmt::format("[{}] must be a regular file but got a {}", path_text(path_),
                                 S_ISDIR(status.st_mode) ? "directory" : "device or pipe"));
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (mapped == MAP_FAILED) {
    throw RuntimeError(fmt::format("[{}] must be mappable but got: {}", path_text(path_), reason(errno)));
  }
  data_ = mapped;
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void MappedFile::unmap() noexcept {
  if (data_ != nullptr) ::munmap(data_, size_);
  data_ = nullptr;
}

std::string read_small_file(const std::filesystem::path& path, std::int64_t max_bytes) {
  const MappedFile file(path);
  if (file.size() == 0) throw InputError(fmt::format("[{}] must hold data but got an empty file", path_text(path)));
  if (file.size() > max_bytes) {
    throw InputError(
        fmt::format("[{}] must be at most {} bytes but got {} bytes", path_text(path), max_bytes, file.size()));
  }
  return std::string(file.bytes());
}

}  // namespace longrope::model
