#include "model/safetensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "kernels/error.hpp"
#include "model/finite_scan.hpp"
#include "model/json_input.hpp"
#include "model/mapped_file.hpp"
#include "model/safetensors_header.hpp"
#include "model/sha256.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::int64_t kMaxIndexBytes = 100'000'000;

std::optional<kernels::DType> supported_dtype(const std::string& dtype) {
  if (dtype == "F32") return kernels::DType::f32;
  if (dtype == "F16") return kernels::DType::f16;
  if (dtype == "BF16") return kernels::DType::bf16;
  return std::nullopt;
}

/// Throws InputError about a directory without safetensors, with what it holds instead.
[[noreturn]] void refuse_directory(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    throw InputError(fmt::format("[{}] must be a checkpoint directory but got {}", path_text(directory),
                                 path_exists(directory) ? "a file" : "no such directory"));
  }
  std::string hint;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with("pytorch_model") || name.ends_with(".gguf") || name.ends_with(".pth")) {
      hint = fmt::format(" (convert {} to safetensors first)", excerpt(name));
      break;
    }
  }
  throw InputError(
      fmt::format("[{}] must hold {} or {} but got neither{}", path_text(directory), kSingleFile, kIndexFile, hint));
}

/// weight_map of an index file: tensor name -> plain file name.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const std::string where = path_text(path);
  const auto root = parse_json_object(read_small_file(path, kMaxIndexBytes), where);
  const JsonObject index(root, where);
  if (!index.has("weight_map") || !index.value("weight_map").is_object() || index.value("weight_map").empty()) {
    index.refuse("weight_map", "an object from tensor names to file names");
  }
  std::map<std::string, std::string> weight_map;
  for (const auto& [tensor, file] : index.value("weight_map").items()) {
    const std::string key = fmt::format("weight_map['{}']", excerpt(tensor));
    if (!file.is_string()) {
      throw InputError(fmt::format("[{}: {}] must be a file name but got {}", where, key, excerpt_of(file)));
    }
    const auto name = file.get<std::string>();
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of(std::string("/\\\0", 3)) != std::string::npos) {
      throw InputError(fmt::format("[{}: {}] must be a plain file name in the checkpoint's directory but got '{}'",
                                   where, key, excerpt(name)));
    }
    weight_map.emplace(tensor, name);
  }
  return weight_map;
}

}  // namespace

struct TensorFiles::Impl {
  /// A tensor and the file that holds it.
  struct Stored {
    TensorEntry entry;
    std::size_t file = 0;
    mutable std::atomic<bool> known_finite = false;  ///< the values were looked at: `require` does so once
  };

  fs::path directory;
  std::vector<MappedFile> files;
  std::map<std::string, Stored> tensors;

  /// Maps one file and adds its tensors.
  void add_file(const fs::path& path) {
    const std::string where = path_text(path);
    files.emplace_back(path);
    for (TensorEntry& entry : read_safetensors_header(files.back().bytes(), where)) {
      const std::string name = entry.name;
      const auto [at, added] = tensors.try_emplace(name);
      if (!added) {
        throw InputError(fmt::format("[{}: tensor '{}'] must be in one shard only but got it also in {}", where,
                                     excerpt(name), path_text(files[at->second.file].path())));
      }
      at->second.entry = std::move(entry);
      at->second.file = files.size() - 1;
    }
  }

  /// Maps every shard that the index names, in name order, and checks that each tensor is where the index says.
  void add_shards(const fs::path& index) {
    const auto weight_map = read_index(index);
    std::set<std::string> names;
    for (const auto& [tensor, file] : weight_map) names.insert(file);
    for (const std::string& name : names) {
      if (!path_exists(directory / name)) {
        throw InputError(fmt::format("[{}] must name existing shards but got '{}', which is not in {}",
                                     path_text(index), excerpt(name), path_text(directory)));
      }
      add_file(directory / name);
    }
    for (const auto& [tensor, file] : weight_map) {
      const auto at = tensors.find(tensor);
      if (at == tensors.end() || files[at->second.file].path().filename() != file) {
        throw InputError(
            fmt::format("[{}: weight_map['{}']] must name the shard that holds the tensor but got '{}', {}",
                        path_text(index), excerpt(tensor), excerpt(file), "which does not"));
      }
    }
  }
};

TensorFiles::TensorFiles(const fs::path& directory) : impl_(std::make_unique<Impl>()) {
  impl_->directory = directory;
  // As transformers: the single file wins over an index.
  if (path_exists(directory / kSingleFile)) {
    impl_->add_file(directory / kSingleFile);
  } else if (path_exists(directory / kIndexFile)) {
    impl_->add_shards(directory / kIndexFile);
  } else {
    refuse_directory(directory);
  }
}

TensorFiles::~TensorFiles() = default;
TensorFiles::TensorFiles(TensorFiles&&) noexcept = default;
TensorFiles& TensorFiles::operator=(TensorFiles&&) noexcept = default;

bool TensorFiles::contains(const std::string& name) const { return impl_->tensors.contains(name); }

TensorView TensorFiles::require(const std::string& name, const std::vector<std::int64_t>& shape) const {
  const auto at = impl_->tensors.find(name);
  if (at == impl_->tensors.end()) {
    throw InputError(fmt::format("[{}] must hold tensor '{}' of shape [{}] but got no such tensor",
                                 path_text(impl_->directory), excerpt(name), fmt::join(shape, ", ")));
  }
  const Impl::Stored& stored = at->second;
  const TensorEntry& entry = stored.entry;
  const MappedFile& file = impl_->files[stored.file];
  const auto where = [&] { return fmt::format("{}: tensor '{}'", path_text(file.path()), excerpt(name)); };
  const auto dtype = supported_dtype(entry.dtype);
  if (!dtype) {
    throw InputError(fmt::format("[{}] must be F32, F16 or BF16 but got {} (quantised weights are not read)", where(),
                                 excerpt(entry.dtype)));
  }
  if (entry.shape != shape) {
    throw InputError(fmt::format("[{}] must have shape [{}] but got [{}] (config.json and weights disagree)", where(),
                                 fmt::join(shape, ", "), fmt::join(entry.shape, ", ")));
  }
  const char* const data = file.bytes().data() + entry.begin;
  if (!stored.known_finite.load(std::memory_order_relaxed)) {
    if (const auto bad = first_non_finite(data, *dtype, entry.elements)) {
      throw InputError(fmt::format("[{}] must hold finite numbers but got {} at index {} (byte offset {})", where(),
                                   is_nan_at(data, *dtype, *bad) ? "NaN" : "infinity", *bad,
                                   entry.begin + *bad * kernels::bytes_of(*dtype)));
    }
    stored.known_finite.store(true, std::memory_order_relaxed);
  }
  return {name, *dtype, entry.shape, data, entry.end - entry.begin};
}

std::vector<fs::path> TensorFiles::files() const {
  std::vector<fs::path> paths;
  for (const MappedFile& file : impl_->files) paths.push_back(file.path());
  return paths;
}

std::int64_t TensorFiles::parameters() const {
  std::int64_t total = 0;
  for (const auto& [name, stored] : impl_->tensors) total += stored.entry.elements;
  return total;
}

std::string TensorFiles::sample_sha256() const {
  constexpr std::int64_t kSamples = 64;
  constexpr std::int64_t kSampleBytes = 64;
  std::string sampled;
  for (const auto& [name, stored] : impl_->tensors) {
    const TensorEntry& entry = stored.entry;
    sampled += fmt::format("{} {} {}\n", name, entry.dtype, fmt::join(entry.shape, ","));
    const std::int64_t bytes = entry.end - entry.begin;
    const char* const data = impl_->files[stored.file].bytes().data() + entry.begin;
    if (bytes <= kSamples * kSampleBytes) {
      sampled.append(data, static_cast<std::size_t>(bytes));
      continue;
    }
    for (std::int64_t i = 0; i < kSamples; ++i) {
      const std::int64_t at = (bytes - kSampleBytes) / (kSamples - 1) * i;
      sampled.append(data + at, static_cast<std::size_t>(kSampleBytes));
    }
  }
  return sha256_hex(sampled);
}

}  // namespace longrope::model
