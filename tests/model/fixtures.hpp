// What the tests of the input side share: a temporary directory that removes itself, the folder of shared test data,
// and the message of a refusal.
#pragma once

#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "tests/support/catch.hpp"

namespace longrope::tests {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "longrope-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Writes a file of these bytes and returns its path.
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream file(path_ / name, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file) throw std::runtime_error("cannot write " + name);
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// LONGROPE_SHARED, else ../shared beside the repository. May be absent: tests that need it then say so and pass.
inline std::filesystem::path shared_directory() {
  if (const char* const given = std::getenv("LONGROPE_SHARED")) return given;
  return std::filesystem::path(__FILE__).parent_path() / ".." / ".." / ".." / "shared";
}

/// Catch2 3's name, also with Catch2 2.
#if __has_include(<catch2/catch_all.hpp>)
using Catch::Matchers::ContainsSubstring;
#else
inline auto ContainsSubstring(const std::string& part) { return Catch::Matchers::Contains(part); }
#endif

/// The message of the InputError that `call` throws; "" if it throws nothing. Another exception passes through.
template <typename ErrorType, typename Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const ErrorType& error) {
    return error.what();
  }
  return "";
}

}  // namespace longrope::tests
