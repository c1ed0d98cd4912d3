#include "search/store_input.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <system_error>

#include "kernels/error.hpp"
#include "search/store_schema.hpp"

namespace longrope::search {
namespace {

constexpr int kOpenForWrite = 1 | 4;  // write access, SWMR write access

/// Consistency flags of the superblock (HDF5 file format specification, version 3); -1: not such a file.
int consistency_flags(const std::filesystem::path& file) {
  std::array<char, 12> start{};
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(start.data(), start.size())) return -1;
  if (std::memcmp(start.data(), "\211HDF\r\n\032\n", 8) != 0 || start[8] != 3) return -1;
  return static_cast<unsigned char>(start[11]);
}

}  // namespace

StoreModel read_model(const Hdf5Object& owner) {
  const Hdf5Object group = owner.open_group("model");
  StoreModel model;
  model.name = group.text_attribute("name");
  model.architecture = group.text_attribute("architecture");
  model.config_sha256 = group.text_attribute("config_sha256");
  model.weights_sha256 = group.text_attribute("weights_sha256");
  model.parameters = group.i64_attribute("parameters");
  model.rotary_dim = group.i64_attribute("rotary_dim");
  model.original_length = group.i64_attribute("original_length");
  model.theta = group.f64_attribute("theta");
  require(model.rotary_dim >= 2 && model.rotary_dim / 2 <= kMaxPairs && model.rotary_dim % 2 == 0,
          "rotary_dim is impossible");
  require(model.original_length >= 1 && std::isfinite(model.theta) && model.theta > 0.0,
          "the model's geometry is impossible");
  return model;
}

void refuse_store(const std::filesystem::path& path, const std::string& why) {
  throw InputError(fmt::format("[store] {} {}", path.string(), why));
}

bool require_store_file(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) refuse_store(path, "does not exist");
  if (!std::filesystem::is_regular_file(status)) refuse_store(path, "is not a regular file");
  if (!std::ifstream(path, std::ios::binary)) refuse_store(path, "cannot be opened for reading");
  const int flags = consistency_flags(path);
  if (flags < 0) refuse_store(path, "is not a longrope store (no HDF5 file of version 3)");
  return (flags & kOpenForWrite) != 0;
}

void require_schema(const std::filesystem::path& path, const Hdf5Object& file, bool& is_store) {
  const std::int64_t version = file.i64_attribute("schema_version");
  is_store = file.has("stages") && (file.has("needle") || (file.has("model") && file.has("corpus")));
  require(is_store, "groups are missing");
  if (version != kSchemaVersion)
    refuse_store(path, fmt::format("must have schema version {} but has {}", kSchemaVersion, version));
}

}  // namespace longrope::search
