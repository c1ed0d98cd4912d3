#include "search/hdf5_file.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <type_traits>

#include "search/candidate.hpp"

namespace longrope::search {
namespace {

static_assert(std::is_same_v<hid_t, std::int64_t>);
constexpr std::size_t kTextBytes = 64, kLongTextBytes = 256;
constexpr std::size_t kMaxAttributeBytes = std::size_t{1} << 24;

/// The deepest entry of HDF5's error stack: where it went wrong, not what failed because of it.
std::string last_error() {
  std::string text = "HDF5 call failed";
  const auto take = [](unsigned, const H5E_error2_t* entry, void* data) -> herr_t {
    if (entry->desc != nullptr && *entry->desc != '\0') *static_cast<std::string*>(data) = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, take, &text);
  H5Eclear2(H5E_DEFAULT);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

template <typename T>
T check(T result) {
  if (result < 0) throw Hdf5Error(last_error());
  return result;
}

/// Any HDF5 id that ends with this scope.
class Scoped {
 public:
  using Close = herr_t (*)(hid_t);
  Scoped(hid_t id, Close close) : id_(check(id)), close_(close) {}
  ~Scoped() { close_(id_); }
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;
  operator hid_t() const { return id_; }  // NOLINT(google-explicit-constructor)

 private:
  hid_t id_;
  Close close_;
};

Scoped text_type(std::size_t bytes) {  // H5T_VARIABLE, or with the terminator
  Scoped type(H5Tcopy(H5T_C_S1), H5Tclose);
  check(H5Tset_size(type, bytes));
  check(H5Tset_cset(type, H5T_CSET_UTF8));
  if (bytes != H5T_VARIABLE) check(H5Tset_strpad(type, H5T_STR_NULLPAD));
  return {H5Tcopy(type), H5Tclose};
}

Scoped enum_type(const char* const* names, std::size_t count) {
  Scoped type(H5Tenum_create(H5T_NATIVE_INT8), H5Tclose);
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<std::int8_t>(i);
    check(H5Tenum_insert(type, names[i], &value));
  }
  return {H5Tcopy(type), H5Tclose};
}

Scoped element_type(Element element) {
  switch (element) {
    case Element::u8:
      return {H5Tcopy(H5T_STD_U8LE), H5Tclose};
    case Element::i32:
      return {H5Tcopy(H5T_STD_I32LE), H5Tclose};
    case Element::i64:
      return {H5Tcopy(H5T_STD_I64LE), H5Tclose};
    case Element::f64:
      return {H5Tcopy(H5T_IEEE_F64LE), H5Tclose};
    case Element::origin:
      return enum_type(kOriginNames, std::size(kOriginNames));
    case Element::status:
      return enum_type(kStatusNames, std::size(kStatusNames));
    case Element::text64:
      return text_type(kTextBytes);
    case Element::text256:
      return text_type(kLongTextBytes);
  }
  throw Hdf5Error("unknown element");
}

template <typename T>
hid_t native_type() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return H5T_NATIVE_UINT8;
  if constexpr (std::is_same_v<T, std::int8_t>) return H5T_NATIVE_INT8;
  if constexpr (std::is_same_v<T, std::int32_t>) return H5T_NATIVE_INT32;
  if constexpr (std::is_same_v<T, std::int64_t>) return H5T_NATIVE_INT64;
  if constexpr (std::is_same_v<T, std::uint64_t>) return H5T_NATIVE_UINT64;
  if constexpr (std::is_same_v<T, double>) return H5T_NATIVE_DOUBLE;
}

/// HDF5 converts an enum to an integer but not back: enums are written in their own type.
template <typename T>
Scoped memory_type(hid_t dataset) {
  Scoped file_type(H5Dget_type(dataset), H5Tclose);
  const H5T_class_t file_class = check(H5Tget_class(file_type));
  if constexpr (std::is_same_v<T, std::int8_t>) {
    if (file_class == H5T_ENUM) {
      if (H5Tget_size(file_type) != 1) throw Hdf5Error("an enumeration is not of one byte");
      return {H5Tcopy(file_type), H5Tclose};
    }
  }
  const H5T_class_t wanted = std::is_same_v<T, double> ? H5T_FLOAT : H5T_INTEGER;
  if (file_class != wanted) throw Hdf5Error("a data set is of another type");
  return {H5Tcopy(native_type<T>()), H5Tclose};
}

/// Our locks are in file_lock.hpp; HDF5's own would keep notebooks out, and fail on file systems without locks.
Scoped access_list() {
  Scoped list(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  check(H5Pset_libver_bounds(list, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST));
  check(H5Pset_file_locking(list, false, true));
  return {H5Pcopy(list), H5Pclose};
}

void set_labels(hid_t dataset, const std::vector<std::string>& labels) {
  // What H5DSset_label writes, so that h5py's dims[i].label finds it.
  Scoped type(H5Tcopy(H5T_C_S1), H5Tclose);
  check(H5Tset_size(type, H5T_VARIABLE));
  const hsize_t count = labels.size();
  Scoped space(H5Screate_simple(1, &count, nullptr), H5Sclose);
  Scoped attribute(H5Acreate2(dataset, "DIMENSION_LABELS", type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  std::vector<const char*> pointers;
  for (const std::string& label : labels) pointers.push_back(label.c_str());
  check(H5Awrite(attribute, type, pointers.data()));
}

void write_scalar(hid_t object, const std::string& name, hid_t file_type, hid_t memory, const void* value) {
  Scoped space(H5Screate(H5S_SCALAR), H5Sclose);
  Scoped attribute(H5Acreate2(object, name.c_str(), file_type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  check(H5Awrite(attribute, memory, value));
}

template <typename T>
T read_scalar(hid_t object, const std::string& name) {
  Scoped attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
  Scoped space(H5Aget_space(attribute), H5Sclose);
  if (H5Sget_simple_extent_npoints(space) != 1) throw Hdf5Error(fmt::format("attribute '{}' is not one value", name));
  Scoped type(H5Aget_type(attribute), H5Tclose);
  const H5T_class_t wanted = std::is_same_v<T, double> ? H5T_FLOAT : H5T_INTEGER;
  if (H5Tget_class(type) != wanted) throw Hdf5Error(fmt::format("attribute '{}' is of another type", name));
  T value{};
  check(H5Aread(attribute, native_type<T>(), &value));
  return value;
}

void write_simple(hid_t group, const std::string& name, hid_t file_type, hid_t memory, hsize_t count,
                  const void* values, const std::string& label) {
  Scoped space(H5Screate_simple(1, &count, nullptr), H5Sclose);
  Scoped dataset(H5Dcreate2(group, name.c_str(), file_type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
  if (count > 0) check(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
  set_labels(dataset, {label});
}

/// Grows the data set by `rows` and writes them.
void append_rows(hid_t dataset, const std::vector<std::uint64_t>& old_extents, std::uint64_t rows, hid_t memory,
                 const void* values) {
  std::vector<hsize_t> extents(old_extents.begin(), old_extents.end()), start(extents.size(), 0), count = extents;
  extents[0] += rows;
  start[0] = old_extents[0];
  count[0] = rows;
  check(H5Dset_extent(dataset, extents.data()));
  if (rows == 0) return;
  Scoped file_space(H5Dget_space(dataset), H5Sclose);
  check(H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr));
  Scoped memory_space(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  check(H5Dwrite(dataset, memory, memory_space, file_space, H5P_DEFAULT, values));
}

/// Values in the first `rows` rows. Rows that were written take room in the file, so a lying extent is found here.
std::size_t checked_size(hid_t dataset, const std::vector<std::uint64_t>& extents, std::uint64_t rows) {
  Scoped type(H5Dget_type(dataset), H5Tclose);
  const std::size_t element_bytes = H5Tget_size(type);
  if (element_bytes == 0) throw Hdf5Error(last_error());
  if (extents.empty() || rows > extents[0]) throw Hdf5Error("a data set holds fewer rows than were committed");
  std::uint64_t values = rows;
  const std::uint64_t limit = H5Dget_storage_size(dataset) / element_bytes;
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i] != 0 && values > limit / extents[i]) throw Hdf5Error("a data set holds less than its extents say");
    values *= extents[i];
  }
  if (values > limit) throw Hdf5Error("a data set holds less than its extents say");
  return static_cast<std::size_t>(values);
}

void read_rows(hid_t dataset, const std::vector<std::uint64_t>& extents, std::uint64_t rows, hid_t memory,
               void* values) {
  std::vector<hsize_t> start(extents.size(), 0), count(extents.begin(), extents.end());
  count[0] = rows;
  Scoped file_space(H5Dget_space(dataset), H5Sclose);
  check(H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr));
  Scoped memory_space(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  check(H5Dread(dataset, memory, memory_space, file_space, H5P_DEFAULT, values));
}

std::vector<char> padded(const std::vector<std::string>& values, std::size_t bytes) {
  std::vector<char> text(values.size() * bytes, '\0');
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::size_t length = std::min(values[i].size(), bytes);
    // Not in the middle of a UTF-8 character.
    while (length < values[i].size() && length > 0 && (static_cast<unsigned char>(values[i][length]) & 0xC0) == 0x80)
      --length;
    std::memcpy(text.data() + i * bytes, values[i].data(), length);
  }
  return text;
}

}  // namespace

Hdf5Silence::Hdf5Silence() {
  [[maybe_unused]] static const herr_t no_exit_handler = H5dont_atexit();
  H5E_auto2_t function = nullptr;
  H5Eget_auto2(H5E_DEFAULT, &function, &data_);
  function_ = reinterpret_cast<void*>(function);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Silence::~Hdf5Silence() { H5Eset_auto2(H5E_DEFAULT, reinterpret_cast<H5E_auto2_t>(function_), data_); }

Hdf5Object::~Hdf5Object() {
  if (kind_ == Kind::none) return;
  const Hdf5Silence silence;
  kind_ == Kind::file ? H5Fclose(id_) : H5Oclose(id_);
}

void Hdf5Object::close() {
  const hid_t id = std::exchange(id_, -1);
  const Kind kind = std::exchange(kind_, Kind::none);
  if (kind != Kind::none) check(kind == Kind::file ? H5Fclose(id) : H5Oclose(id));
}

Hdf5Object Hdf5Object::create_file(const std::filesystem::path& file) {
  return {check(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access_list())), Kind::file};
}

Hdf5Object Hdf5Object::open_swmr_writer(const std::filesystem::path& file) {
  return {check(H5Fopen(file.c_str(), H5F_ACC_RDWR | H5F_ACC_SWMR_WRITE, access_list())), Kind::file};
}

Hdf5Object Hdf5Object::open_reader(const std::filesystem::path& file) {
  // A piece of metadata with a wrong checksum may be half written: HDF5 reads it again, waiting 1, 2, 4, ... ns
  // between. Its own limit of 100 times is for ever on a damaged file; 22 times are 4 ms.
  constexpr unsigned kReadAttempts = 22;
  const Scoped list = access_list();
  check(H5Pset_metadata_read_attempts(list, kReadAttempts));
  return {check(H5Fopen(file.c_str(), H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, list)), Kind::file};
}

void Hdf5Object::flush_file() const { check(H5Fflush(id_, H5F_SCOPE_GLOBAL)); }

Hdf5Object Hdf5Object::create_group(const std::string& name) const {
  return {check(H5Gcreate2(id_, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)), Kind::object};
}

Hdf5Object Hdf5Object::open_group(const std::string& name) const {
  return {check(H5Gopen2(id_, name.c_str(), H5P_DEFAULT)), Kind::object};
}

bool Hdf5Object::has(const std::string& name) const { return check(H5Lexists(id_, name.c_str(), H5P_DEFAULT)) > 0; }

std::vector<std::string> Hdf5Object::child_names() const {
  std::vector<std::string> names;
  const auto take = [](hid_t, const char* name, const H5L_info_t*, void* data) -> herr_t {
    auto& list = *static_cast<std::vector<std::string>*>(data);
    if (list.size() >= 100000) return -1;
    list.emplace_back(name);
    return 0;
  };
  check(H5Literate(id_, H5_INDEX_NAME, H5_ITER_INC, nullptr, take, &names));
  return names;
}

void Hdf5Object::set_attribute(const std::string& name, std::int64_t value) const {
  write_scalar(id_, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}
void Hdf5Object::set_attribute(const std::string& name, std::uint64_t value) const {
  write_scalar(id_, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value);
}
void Hdf5Object::set_attribute(const std::string& name, double value) const {
  write_scalar(id_, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}
// Fixed length: it lies in the object header, under its checksum. HDF5 1.10 follows a damaged heap of variable-length
// strings into a segmentation fault.
void Hdf5Object::set_attribute(const std::string& name, const std::string& value) const {
  const Scoped type = text_type(std::max<std::size_t>(value.size(), 1));
  write_scalar(id_, name, type, type, value.c_str());
}

std::int64_t Hdf5Object::i64_attribute(const std::string& name) const { return read_scalar<std::int64_t>(id_, name); }
std::uint64_t Hdf5Object::u64_attribute(const std::string& name) const { return read_scalar<std::uint64_t>(id_, name); }
double Hdf5Object::f64_attribute(const std::string& name) const { return read_scalar<double>(id_, name); }

bool Hdf5Object::has_attribute(const std::string& name) const { return check(H5Aexists(id_, name.c_str())) > 0; }

std::string Hdf5Object::text_attribute(const std::string& name) const {
  Scoped attribute(H5Aopen(id_, name.c_str(), H5P_DEFAULT), H5Aclose);
  Scoped space(H5Aget_space(attribute), H5Sclose);
  Scoped file_type(H5Aget_type(attribute), H5Tclose);
  if (H5Sget_simple_extent_npoints(space) != 1 || H5Tget_class(file_type) != H5T_STRING ||
      check(H5Tis_variable_str(file_type)) > 0) {
    throw Hdf5Error(fmt::format("attribute '{}' is not a text", name));
  }
  const std::size_t bytes = H5Tget_size(file_type);
  if (bytes > kMaxAttributeBytes) throw Hdf5Error(fmt::format("attribute '{}' is too long", name));
  std::string value(bytes, '\0');
  check(H5Aread(attribute, file_type, value.data()));
  value.resize(strnlen(value.data(), bytes));
  return value;
}

Hdf5Object Hdf5Object::create_dataset(const DatasetLayout& layout) const {
  constexpr std::uint64_t kChunkBytes = 16384, kChunkRows = 256;  // a job has tens to thousands of rows
  const Scoped type = element_type(layout.element);
  std::vector<hsize_t> extents{0}, limits{H5S_UNLIMITED}, chunk{1};
  std::uint64_t row_bytes = H5Tget_size(type);
  for (const std::uint64_t extent : layout.row) {
    extents.push_back(extent);
    limits.push_back(extent);
    chunk.push_back(std::clamp<std::uint64_t>(kChunkBytes / row_bytes, 1, extent));
    row_bytes *= chunk.back();
  }
  chunk[0] =
      std::clamp<std::uint64_t>(kChunkBytes / row_bytes, 1, layout.element == Element::u8 ? kChunkBytes : kChunkRows);
  Scoped space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), limits.data()), H5Sclose);
  Scoped properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  check(H5Pset_chunk(properties, static_cast<int>(chunk.size()), chunk.data()));
  Hdf5Object dataset(check(H5Dcreate2(id_, layout.name.c_str(), type, space, H5P_DEFAULT, properties, H5P_DEFAULT)),
                     Kind::object);
  set_labels(dataset.id_, layout.labels);
  if (!layout.unit.empty()) dataset.set_attribute("unit", layout.unit);
  return dataset;
}

Hdf5Object Hdf5Object::open_dataset(const std::string& name) const {
  return {check(H5Dopen2(id_, name.c_str(), H5P_DEFAULT)), Kind::object};
}

void Hdf5Object::write_fixed(const std::string& name, std::span<const std::int64_t> values,
                             const std::string& label) const {
  write_simple(id_, name, H5T_STD_I64LE, H5T_NATIVE_INT64, values.size(), values.data(), label);
}
void Hdf5Object::write_fixed(const std::string& name, std::span<const double> values, const std::string& label) const {
  write_simple(id_, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, values.size(), values.data(), label);
}
void Hdf5Object::write_fixed(const std::string& name, const std::vector<std::string>& values,
                             const std::string& label) const {
  std::size_t bytes = 1;
  for (const std::string& value : values) bytes = std::max(bytes, value.size());
  const Scoped type = text_type(bytes);
  write_simple(id_, name, type, type, values.size(), padded(values, bytes).data(), label);
}

std::vector<std::uint64_t> Hdf5Object::extents() const {
  Scoped space(H5Dget_space(id_), H5Sclose);
  const int rank = check(H5Sget_simple_extent_ndims(space));
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  check(H5Sget_simple_extent_dims(space, extents.data(), nullptr));
  return {extents.begin(), extents.end()};
}

template <typename T>
void Hdf5Object::append(std::span<const T> values, std::uint64_t rows) const {
  const std::vector<std::uint64_t> old_extents = extents();
  std::uint64_t expected = rows;
  for (std::size_t i = 1; i < old_extents.size(); ++i) expected *= old_extents[i];
  if (values.size() != expected) throw Hdf5Error("rows of another size than the data set's");
  append_rows(id_, old_extents, rows, memory_type<T>(id_), values.data());
}
template void Hdf5Object::append(std::span<const std::uint8_t>, std::uint64_t) const;
template void Hdf5Object::append(std::span<const std::int8_t>, std::uint64_t) const;
template void Hdf5Object::append(std::span<const std::int32_t>, std::uint64_t) const;
template void Hdf5Object::append(std::span<const std::int64_t>, std::uint64_t) const;
template void Hdf5Object::append(std::span<const double>, std::uint64_t) const;

void Hdf5Object::append_text(const std::vector<std::string>& values) const {
  Scoped type(H5Dget_type(id_), H5Tclose);
  append_rows(id_, extents(), values.size(), type, padded(values, H5Tget_size(type)).data());
}

void Hdf5Object::flush_dataset() const { check(H5Dflush(id_)); }

template <typename T>
std::vector<T> Hdf5Object::read(std::uint64_t rows) const {
  const std::vector<std::uint64_t> all = extents();
  const Scoped memory = memory_type<T>(id_);
  std::vector<T> values(checked_size(id_, all, rows));
  if (!values.empty()) read_rows(id_, all, rows, memory, values.data());
  return values;
}
template std::vector<std::uint8_t> Hdf5Object::read(std::uint64_t) const;
template std::vector<std::int8_t> Hdf5Object::read(std::uint64_t) const;
template std::vector<std::int32_t> Hdf5Object::read(std::uint64_t) const;
template std::vector<std::int64_t> Hdf5Object::read(std::uint64_t) const;
template std::vector<double> Hdf5Object::read(std::uint64_t) const;

std::vector<std::string> Hdf5Object::read_text(std::uint64_t rows) const {
  const std::vector<std::uint64_t> all = extents();
  Scoped type(H5Dget_type(id_), H5Tclose);
  if (all.size() != 1 || H5Tget_class(type) != H5T_STRING || check(H5Tis_variable_str(type)) > 0) {
    throw Hdf5Error("a data set is not of fixed-length text");
  }
  const std::size_t count = checked_size(id_, all, rows), bytes = H5Tget_size(type);
  std::vector<char> text(count * bytes);
  if (count > 0) read_rows(id_, all, rows, type, text.data());
  std::vector<std::string> values;
  for (std::size_t i = 0; i < count; ++i) {
    const char* start = text.data() + i * bytes;
    values.emplace_back(start, strnlen(start, bytes));
  }
  return values;
}

}  // namespace longrope::search
