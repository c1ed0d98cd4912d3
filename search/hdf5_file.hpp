// The few things the store needs of the HDF5 C library, owned and checked. No HDF5 header here: this file's .cpp is the
// only one that includes it. One thread only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace longrope::search {

/// A failed HDF5 call; what() is the library's own account of it.
class Hdf5Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// While it lives, HDF5 prints nothing to stderr. To be made before any other use of HDF5: the first one also tells the
/// library to leave files that are still open at exit alone.
class Hdf5Silence {
 public:
  Hdf5Silence();
  ~Hdf5Silence();
  Hdf5Silence(const Hdf5Silence&) = delete;
  Hdf5Silence& operator=(const Hdf5Silence&) = delete;

 private:
  void* function_ = nullptr;
  void* data_ = nullptr;
};

/// What a data set holds on disk. `origin` and `status` are enums on int8 with the names of candidate.hpp; `text64`
/// and `text256` are fixed-length UTF-8.
enum class Element { u8, i32, i64, f64, origin, status, text64, text256 };

/// A data set's layout: [0 rows (unlimited), width...] in chunks.
struct DatasetLayout {
  std::string name;
  Element element = Element::f64;
  std::vector<std::uint64_t> row;   ///< extents after the first; empty: one value a row
  std::vector<std::string> labels;  ///< of all dimensions
  std::string unit;                 ///< empty: none
};

/// A file, group or data set.
class Hdf5Object {
 public:
  enum class Kind { none, file, object };

  Hdf5Object() = default;
  ~Hdf5Object();
  Hdf5Object(Hdf5Object&& other) noexcept
      : id_(std::exchange(other.id_, -1)), kind_(std::exchange(other.kind_, Kind::none)) {}
  Hdf5Object& operator=(Hdf5Object&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(kind_, other.kind_);
    return *this;
  }

  /// Truncates or makes the file, in the newest format that SWMR needs.
  static Hdf5Object create_file(const std::filesystem::path& file);
  /// Opens for appending while others read.
  static Hdf5Object open_swmr_writer(const std::filesystem::path& file);
  /// Opens for reading, also while it is being written or after its writer was killed.
  static Hdf5Object open_reader(const std::filesystem::path& file);
  /// Closes now; throws what the destructor would swallow (pending writes that fail).
  void close();
  /// Lets go without closing, as a kill would: for a file that could not be written, which closing would spoil.
  void abandon() { kind_ = Kind::none; }
  void flush_file() const;

  Hdf5Object create_group(const std::string& name) const;
  Hdf5Object open_group(const std::string& name) const;
  bool has(const std::string& name) const;
  std::vector<std::string> child_names() const;

  void set_attribute(const std::string& name, std::int64_t value) const;
  void set_attribute(const std::string& name, std::uint64_t value) const;
  void set_attribute(const std::string& name, double value) const;
  void set_attribute(const std::string& name, const std::string& value) const;
  std::int64_t i64_attribute(const std::string& name) const;
  std::uint64_t u64_attribute(const std::string& name) const;
  double f64_attribute(const std::string& name) const;
  std::string text_attribute(const std::string& name) const;
  bool has_attribute(const std::string& name) const;

  Hdf5Object create_dataset(const DatasetLayout& layout) const;
  Hdf5Object open_dataset(const std::string& name) const;
  /// Writes a data set that does not grow.
  void write_fixed(const std::string& name, std::span<const std::int64_t> values, const std::string& label) const;
  void write_fixed(const std::string& name, std::span<const double> values, const std::string& label) const;
  void write_fixed(const std::string& name, const std::vector<std::string>& values, const std::string& label) const;

  /// Extents of a data set.
  std::vector<std::uint64_t> extents() const;
  /// Appends `rows` rows; `values` in the element's memory form: u8, i32, i64, f64, int8 for enums.
  template <typename T>
  void append(std::span<const T> values, std::uint64_t rows) const;
  void append_text(const std::vector<std::string>& values) const;
  /// Pushes a data set's rows and its description to the operating system.
  void flush_dataset() const;

  /// The first `rows` rows, [rows, width...].
  template <typename T>
  std::vector<T> read(std::uint64_t rows) const;
  /// The first `rows` strings of a fixed-length string data set.
  std::vector<std::string> read_text(std::uint64_t rows) const;

 private:
  Hdf5Object(std::int64_t id, Kind kind) : id_(id), kind_(kind) {}

  std::int64_t id_ = -1;
  Kind kind_ = Kind::none;
};

}  // namespace longrope::search
