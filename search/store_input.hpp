// What the readers of a store share. Nothing in the file is trusted: extents, counts, enums and texts are checked
// before they are used, and what is wrong becomes an InputError that names the file.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "search/hdf5_file.hpp"
#include "search/store.hpp"

namespace longrope::search {

/// What is wrong with the file; read_checked makes an InputError of it that names it.
class Damaged : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const char* what) {
  if (!holds) throw Damaged(what);
}

inline constexpr std::uint64_t kAllRows = std::numeric_limits<std::uint64_t>::max();

/// A data set of the shape [at least rows, row...], its first `rows` rows; kAllRows: all of them.
template <typename T>
std::vector<T> column(const Hdf5Object& group, const char* name, std::uint64_t rows,
                      const std::vector<std::uint64_t>& row = {}) {
  const Hdf5Object dataset = group.open_dataset(name);
  const std::vector<std::uint64_t> extents = dataset.extents();
  if (extents.size() != row.size() + 1 || !std::equal(row.begin(), row.end(), extents.begin() + 1)) {
    throw Damaged(fmt::format("'{}' has another shape", name));
  }
  return dataset.read<T>(rows == kAllRows ? extents[0] : rows);
}

/// The model of an owner (the root, a later stage, a needle run).
StoreModel read_model(const Hdf5Object& owner);

/// Throws InputError unless there is a regular file that can be read; with its consistency flags else: whether a writer
/// has it open, or was killed.
bool require_store_file(const std::filesystem::path& path);
/// Throws Damaged or InputError unless the file is a store of this schema; is_store: whether it looks like one.
void require_schema(const std::filesystem::path& path, const Hdf5Object& file, bool& is_store);
[[noreturn]] void refuse_store(const std::filesystem::path& path, const std::string& why);

/// Opens the file, checks that it is a store of this schema, and calls read(file, open_for_write).
template <typename Read>
auto read_checked(const std::filesystem::path& path, Read read) {
  const Hdf5Silence silence;
  constexpr int kAttempts = 4;  // what a writer was just doing may look like damage
  for (int attempt = 1;; ++attempt) {
    const bool open_for_write = require_store_file(path);
    bool is_store = false;
    std::string why;
    try {
      const Hdf5Object file = Hdf5Object::open_reader(path);
      require_schema(path, file, is_store);
      return read(file, open_for_write);
    } catch (const Hdf5Error& failure) {
      why = failure.what();
    } catch (const Damaged& failure) {
      why = failure.what();
    } catch (const std::bad_alloc&) {
      refuse_store(path, "does not fit into memory");
    }
    if (!open_for_write || attempt >= kAttempts)
      refuse_store(path, (is_store ? "is damaged: " : "is not a longrope store: ") + why);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace longrope::search
