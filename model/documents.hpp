// Token documents: from text through the checkpoint's SentencePiece tokenizer, or from files of token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace longrope::model {

struct Document {
  std::string name;
  std::vector<std::int32_t> tokens;  ///< without BOS; each in [0, vocabulary)
};

/// Documents and how windows over them start.
struct Corpus {
  std::vector<std::string> sources;  ///< files, as given
  std::vector<Document> documents;
  std::optional<std::int32_t> bos;  ///< put in front of every window, if any
  std::int64_t total_tokens() const;
};

/// BOS of a checkpoint directory: tokenizer.model's if that exists and has one; else none if tokenizer_config.json says
/// "bos_token": null; else `config_bos`.
std::optional<std::int32_t> find_bos(const std::filesystem::path& model_directory,
                                     std::optional<std::int32_t> config_bos);

/// One document per UTF-8 file. Throws InputError: unreadable, not UTF-8 (with the byte offset), no tokenizer.model
/// (naming experiments/tokenize.py if tokenizer.json is there), ids outside [0, vocabulary), empty file.
Corpus read_text(const std::filesystem::path& model_directory, const std::vector<std::filesystem::path>& files,
                 std::int64_t vocabulary, std::optional<std::int32_t> config_bos);

/// HDF5 (/documents/<name>, 1-D integers, in creation order where tracked, else by name), .npy (1-D integers), raw .u16
/// or .u32 (little-endian). Throws InputError as above; ids outside [0, vocabulary) are named with document and index.
Corpus read_tokens(const std::filesystem::path& model_directory, const std::filesystem::path& file,
                   std::int64_t vocabulary, std::optional<std::int32_t> config_bos);

}  // namespace longrope::model
