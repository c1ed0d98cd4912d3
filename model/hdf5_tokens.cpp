// HDF5 side of token_files.hpp.
#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <exception>
#include <string>
#include <utility>

#include "kernels/error.hpp"
#include "model/token_files.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

constexpr const char* kGroup = "documents";
constexpr std::size_t kMaxDocuments = 1'000'000;
constexpr hsize_t kMaxTokens = hsize_t{1} << 33;
constexpr hsize_t kSlab = hsize_t{1} << 18;  // elements read at a time: a lying extent fails before memory does

/// Closes an HDF5 identifier.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  hid_t get() const { return id_; }
  bool ok() const { return id_ >= 0; }

 private:
  hid_t id_;
  Close close_;
};

/// Keeps HDF5 from printing its error stack; puts the handler back.
class SilentErrors {
 public:
  SilentErrors() {
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~SilentErrors() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }
  SilentErrors(const SilentErrors&) = delete;
  SilentErrors& operator=(const SilentErrors&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

/// What HDF5 says went wrong, innermost first cause.
std::string hdf5_reason() {
  std::string reason;
  const auto first = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
    try {
      if (error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
    } catch (const std::exception&) {
      return -1;  // no exception may pass through C
    }
    return 1;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first, &reason);
  return reason.empty() ? "an HDF5 error" : excerpt(reason, 200);
}

/// A link of /documents.
struct Link {
  std::string name;
  H5L_type_t type = H5L_TYPE_ERROR;
};

struct Links {
  std::vector<Link> all;
  bool too_many = false;
};

herr_t collect_link(hid_t, const char* name, const H5L_info_t* info, void* out) {
  try {
    auto& links = *static_cast<Links*>(out);
    links.too_many = links.all.size() >= kMaxDocuments;
    if (links.too_many) return 1;
    links.all.push_back({name, info->type});
    return 0;
  } catch (const std::exception&) {
    return -1;
  }
}

/// Links of the group, in creation order where it is tracked, else by name.
std::vector<Link> list_links(hid_t group, const std::string& where) {
  const Handle creation(H5Gget_create_plist(group), H5Pclose);
  unsigned order = 0;
  const bool tracked =
      creation.ok() && H5Pget_link_creation_order(creation.get(), &order) >= 0 && (order & H5P_CRT_ORDER_TRACKED) != 0;
  Links links;
  hsize_t position = 0;
  if (H5Literate(group, tracked ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME, H5_ITER_INC, &position, collect_link, &links) <
      0) {
    throw InputError(fmt::format("[{}: /{}] must be a readable group but got: {}", where, kGroup, hdf5_reason()));
  }
  if (links.too_many) {
    throw InputError(
        fmt::format("[{}: /{}] must hold at most {} documents but got more", where, kGroup, kMaxDocuments));
  }
  return std::move(links.all);
}

/// Elements that the file really stores for the dataset; throws InputError for layouts that store them elsewhere.
hsize_t stored_elements(hid_t dataset, std::size_t item_bytes, const std::string& where) {
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  const H5D_layout_t layout = creation.ok() ? H5Pget_layout(creation.get()) : H5D_LAYOUT_ERROR;
  if (layout == H5D_CHUNKED) {
    std::array<hsize_t, 1> chunk{};
    hsize_t chunks = 0;
    const Handle space(H5Dget_space(dataset), H5Sclose);
    if (H5Pget_chunk(creation.get(), 1, chunk.data()) != 1 || H5Dget_num_chunks(dataset, space.get(), &chunks) < 0) {
      throw InputError(fmt::format("[{}] must have readable chunks but got: {}", where, hdf5_reason()));
    }
    return chunk[0] > kMaxTokens || chunks > kMaxTokens ? 0 : chunk[0] * chunks;
  }
  const bool here = (layout == H5D_CONTIGUOUS && H5Pget_external_count(creation.get()) == 0) || layout == H5D_COMPACT;
  if (!here)
    throw InputError(fmt::format("[{}] must be stored in this file but got an external or virtual layout", where));
  return H5Dget_storage_size(dataset) / item_bytes;
}

/// Extent of the dataset, which must be 1-D integers that the file holds.
hsize_t checked_extent(hid_t dataset, const std::string& where) {
  const Handle type(H5Dget_type(dataset), H5Tclose);
  if (!type.ok() || H5Tget_class(type.get()) != H5T_INTEGER || H5Tget_size(type.get()) > 8) {
    throw InputError(fmt::format("[{}] must hold integers of at most 8 bytes but got another type", where));
  }
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const int rank = space.ok() ? H5Sget_simple_extent_ndims(space.get()) : -1;
  if (rank != 1 || H5Sget_simple_extent_type(space.get()) != H5S_SIMPLE) {
    throw InputError(fmt::format("[{}] must be one-dimensional but got {} dimensions", where, rank));
  }
  hsize_t extent = 0;
  if (H5Sget_simple_extent_dims(space.get(), &extent, nullptr) != 1) {
    throw InputError(fmt::format("[{}] must have a readable extent but got: {}", where, hdf5_reason()));
  }
  const hsize_t stored = extent == 0 ? 0 : stored_elements(dataset, H5Tget_size(type.get()), where);
  if (extent > kMaxTokens || extent > stored) {
    throw InputError(fmt::format("[{}] must hold the {} tokens it claims but got {} stored (at most {} are read)",
                                 where, extent, stored, kMaxTokens));
  }
  return extent;
}

/// The dataset's ids, read in slabs.
std::vector<std::int32_t> read_dataset(hid_t dataset, const std::string& where, std::int64_t vocabulary) {
  const hsize_t extent = checked_extent(dataset, where);
  const Handle space(H5Dget_space(dataset), H5Sclose);
  TokenSink sink(where, vocabulary);
  std::vector<std::int64_t> slab(static_cast<std::size_t>(std::min(extent, kSlab)));
  for (hsize_t begin = 0; begin < extent; begin += kSlab) {
    const hsize_t count = std::min(kSlab, extent - begin);
    const Handle memory(H5Screate_simple(1, &count, nullptr), H5Sclose);
    // HDF5 converts width and byte order; values beyond int64 saturate, and so stay outside every vocabulary.
    if (H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &begin, nullptr, &count, nullptr) < 0 ||
        H5Dread(dataset, H5T_NATIVE_INT64, memory.get(), space.get(), H5P_DEFAULT, slab.data()) < 0) {
      throw InputError(
          fmt::format("[{}] must be readable from token index {} but got: {}", where, begin, hdf5_reason()));
    }
    for (hsize_t i = 0; i < count; ++i) sink.add(slab[static_cast<std::size_t>(i)]);
  }
  return sink.take();
}

Document read_link(hid_t group, const Link& link, const std::string& file, std::int64_t vocabulary) {
  const std::string where = fmt::format("{}: /{}/{}", file, kGroup, excerpt(link.name));
  if (link.type != H5L_TYPE_HARD && link.type != H5L_TYPE_SOFT) {
    throw InputError(fmt::format("[{}] must be a dataset in this file but got an external link", where));
  }
  const Handle object(H5Oopen(group, link.name.c_str(), H5P_DEFAULT), H5Oclose);
  if (!object.ok()) {
    throw InputError(fmt::format("[{}] must be a dataset but got a link to nothing: {}", where, hdf5_reason()));
  }
  const H5I_type_t kind = H5Iget_type(object.get());
  if (kind != H5I_DATASET) {
    throw InputError(
        fmt::format("[{}] must be a dataset but got a {}", where, kind == H5I_GROUP ? "group" : "named type"));
  }
  return {link.name, read_dataset(object.get(), where, vocabulary)};
}

}  // namespace

std::vector<Document> read_hdf5_tokens(const std::filesystem::path& path, std::int64_t vocabulary) {
  const SilentErrors silent;
  const std::string where = path_text(path);
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!file.ok()) throw InputError(fmt::format("[{}] must be an HDF5 file but got: {}", where, hdf5_reason()));
  if (H5Lexists(file.get(), kGroup, H5P_DEFAULT) <= 0) {
    throw InputError(fmt::format("[{}] must hold a group /{} but got none", where, kGroup));
  }
  const Handle group(H5Gopen2(file.get(), kGroup, H5P_DEFAULT), H5Gclose);
  if (!group.ok()) throw InputError(fmt::format("[{}: /{}] must be a group but got: {}", where, kGroup, hdf5_reason()));
  const auto links = list_links(group.get(), where);
  if (links.empty()) throw InputError(fmt::format("[{}: /{}] must hold documents but got none", where, kGroup));
  std::vector<Document> documents;
  for (const Link& link : links) documents.push_back(read_link(group.get(), link, where, vocabulary));
  return documents;
}

}  // namespace longrope::model
