// Files of token ids: HDF5, .npy and raw little-endian .u16/.u32. Internal to model/; `read_tokens` is the way in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "model/documents.hpp"

namespace longrope::model {

/// Checks ids as they are read. `where` names file and document for messages.
class TokenSink {
 public:
  TokenSink(std::string where, std::int64_t vocabulary) : where_(std::move(where)), vocabulary_(vocabulary) {}
  /// Appends an id. Throws InputError naming document and index unless 0 <= id < vocabulary.
  void add(std::int64_t id) {
    if (id < 0 || id >= vocabulary_) refuse(id);
    tokens_.push_back(static_cast<std::int32_t>(id));
  }
  /// The ids. Throws InputError if there are none.
  std::vector<std::int32_t> take();

 private:
  [[noreturn]] void refuse(std::int64_t id) const;

  std::string where_;
  std::int64_t vocabulary_;
  std::vector<std::int32_t> tokens_;
};

/// .npy of version 1 to 3 (numpy.lib.format): 1-D, integers of 1, 2, 4 or 8 bytes, either byte order.
std::vector<Document> read_npy(const std::filesystem::path& path, std::int64_t vocabulary);

/// Little-endian unsigned integers of `item_bytes` (2 or 4), nothing else in the file.
std::vector<Document> read_raw_tokens(const std::filesystem::path& path, std::int64_t item_bytes,
                                      std::int64_t vocabulary);

/// HDF5: every dataset of the group /documents, 1-D integers of any width and byte order; in creation order where the
/// group tracks it, else by name.
std::vector<Document> read_hdf5_tokens(const std::filesystem::path& path, std::int64_t vocabulary);

}  // namespace longrope::model
