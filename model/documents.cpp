#include "model/documents.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "kernels/error.hpp"
#include "model/json_input.hpp"
#include "model/mapped_file.hpp"
#include "model/text_tokenizer.hpp"
#include "model/token_files.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxTokenizerConfigBytes = 64 << 20;

/// Loads tokenizer.model. Throws InputError if it is absent, with what to do instead.
TextTokenizer load_tokenizer(const fs::path& directory) {
  if (!path_exists(directory / "tokenizer.model")) {
    const char* const hint = path_exists(directory / "tokenizer.json")
                                 ? "only tokenizer.json (make a token file with experiments/tokenize.py and pass it "
                                   "with --tokens)"
                                 : "no tokenizer (pass token ids with --tokens)";
    throw InputError(
        fmt::format("[{}] must hold a SentencePiece tokenizer.model but got {}", path_text(directory), hint));
  }
  return TextTokenizer(directory / "tokenizer.model");
}

/// BOS where tokenizer.model has none or is absent.
std::optional<std::int32_t> bos_without_model(const fs::path& directory, std::optional<std::int32_t> config_bos) {
  const fs::path path = directory / "tokenizer_config.json";
  if (!path_exists(path)) return config_bos;
  const auto config = parse_json_object(read_small_file(path, kMaxTokenizerConfigBytes), path_text(path));
  const auto at = config.find("bos_token");
  return at != config.end() && at->is_null() ? std::nullopt : config_bos;
}

/// Throws InputError unless BOS, if any, is in the vocabulary.
void check_bos(const fs::path& directory, std::optional<std::int32_t> bos, std::int64_t vocabulary) {
  if (bos && (*bos < 0 || *bos >= vocabulary)) {
    throw InputError(
        fmt::format("[{}: BOS] must be in the vocabulary [0, {}) but got {} (tokenizer and model disagree)",
                    path_text(directory), vocabulary, *bos));
  }
}

Document encode_file(const TextTokenizer& tokenizer, const fs::path& path, std::int64_t vocabulary) {
  const MappedFile file(path);
  const std::string where = path_text(path);
  const std::string_view text = file.bytes();
  if (text.empty()) throw InputError(fmt::format("[{}] must hold text but got an empty file", where));
  if (file.size() > TextTokenizer::kMaxTextBytes) {
    throw InputError(fmt::format("[{}] must be at most {} bytes but got {} (split it into documents)", where,
                                 TextTokenizer::kMaxTextBytes, file.size()));
  }
  if (const auto bad = first_invalid_utf8(text)) {
    throw InputError(fmt::format("[{}] must be UTF-8 but got byte 0x{:02x} at byte offset {}", where,
                                 static_cast<unsigned char>(text[*bad]), *bad));
  }
  TokenSink sink(where, vocabulary);
  for (const std::int32_t id : tokenizer.encode(text)) sink.add(id);
  return {path.filename().string(), sink.take()};
}

}  // namespace

std::int64_t Corpus::total_tokens() const {
  std::int64_t total = 0;
  for (const Document& document : documents) total += static_cast<std::int64_t>(document.tokens.size());
  return total;
}

std::optional<std::int32_t> find_bos(const fs::path& model_directory, std::optional<std::int32_t> config_bos) {
  if (path_exists(model_directory / "tokenizer.model")) {
    if (const auto bos = TextTokenizer(model_directory / "tokenizer.model").bos()) return bos;
  }
  return bos_without_model(model_directory, config_bos);
}

Corpus read_text(const fs::path& model_directory, const std::vector<fs::path>& files, std::int64_t vocabulary,
                 std::optional<std::int32_t> config_bos) {
  if (files.empty()) throw InputError("[text] must name at least one file but got none");
  const TextTokenizer tokenizer = load_tokenizer(model_directory);
  Corpus corpus;
  corpus.bos = tokenizer.bos();
  if (!corpus.bos) corpus.bos = bos_without_model(model_directory, config_bos);
  check_bos(model_directory, corpus.bos, vocabulary);
  for (const fs::path& file : files) {
    corpus.sources.push_back(file.string());
    corpus.documents.push_back(encode_file(tokenizer, file, vocabulary));
  }
  return corpus;
}

Corpus read_tokens(const fs::path& model_directory, const fs::path& file, std::int64_t vocabulary,
                   std::optional<std::int32_t> config_bos) {
  Corpus corpus;
  corpus.sources.push_back(file.string());
  corpus.bos = find_bos(model_directory, config_bos);
  check_bos(model_directory, corpus.bos, vocabulary);
  const std::string suffix = file.extension().string();
  if (suffix == ".h5" || suffix == ".hdf5") {
    MappedFile(fs::path(file));  // absent, a directory, unreadable: said in our words before HDF5 says it in its own
    corpus.documents = read_hdf5_tokens(file, vocabulary);
  } else if (suffix == ".npy") {
    corpus.documents = read_npy(file, vocabulary);
  } else if (suffix == ".u16" || suffix == ".u32") {
    corpus.documents = read_raw_tokens(file, suffix == ".u16" ? 2 : 4, vocabulary);
  } else {
    throw InputError(
        fmt::format("[{}] must end in .h5, .hdf5, .npy, .u16 or .u32 but got '{}'", path_text(file), excerpt(suffix)));
  }
  return corpus;
}

}  // namespace longrope::model
