// A table into a GGUF for llama.cpp: a copy of a GGUF of the same model with rope_factors_long and rope_factors_short
// and the keys that make llama.cpp use them. What it needs: llama.cpp's src/llama-model.cpp (get_rope_factors,
// load_hparams) and src/models/{llama,phi3,minicpm}.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/atomic_file.hpp"
#include "model/export_tables.hpp"
#include "model/gguf_file.hpp"
#include "model/gguf_writer.hpp"
#include "model/model_config.hpp"

namespace longrope::model {

/// What the tables of a GGUF are, as llama.cpp will read them.
struct GgufTables {
  std::string architecture;
  std::vector<float> long_factors;
  std::vector<float> short_factors;
  float attention_factor = 1.0F;
  float theta = 10000.0F;
  std::int64_t original_length = 0;
  std::int64_t context_length = 0;
};

/// The tables of a file. Throws InputError if the file lacks one of them, or holds what changes them
/// (rope.scaling.factor, rope_freqs).
GgufTables read_gguf_tables(const GgufFile& file);

class GgufExport {
 public:
  /// Opens the GGUF and checks that it is of this model and that llama.cpp can use the tables in it. Throws InputError:
  /// an architecture whose graph takes no factors (Qwen3 by name), other heads, layers or theta than the checkpoint's,
  /// start_tokens, a part of a split file.
  GgufExport(const std::filesystem::path& gguf, const ExportTables& tables, const ModelConfig& config);

  /// What llama.cpp will do otherwise than the tables say, one line each.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Architecture written: the input's, or llama for a Qwen2.
  const std::string& architecture() const { return architecture_; }
  bool rewrites_qwen2() const { return input_architecture_ == "qwen2"; }
  /// Whether all tensors are F32.
  bool all_float32() const;
  /// Appends the new file. Tensors are streamed from the mapped input.
  void write(NewFile& file) const;
  /// Re-reads a file that write() made: the factors bit for bit as float32, every other tensor's bytes against the
  /// input's (Q and K rows of a Qwen2 in their new order), every other key. Throws RuntimeError naming the difference.
  void verify(const std::filesystem::path& written) const;

 private:
  std::vector<std::string> new_values() const;
  std::vector<GgufNewTensor> new_tensors() const;
  std::vector<std::int64_t> row_source(const GgufTensor& tensor) const;

  ExportTables tables_;
  GgufFile input_;
  std::int64_t heads_ = 0;
  std::int64_t kv_heads_ = 0;
  std::int64_t head_dim_ = 0;
  std::int64_t original_length_ = 0;
  std::string input_architecture_;
  std::string architecture_;
  std::string long_bytes_;   ///< float32
  std::string short_bytes_;  ///< float32
  std::vector<std::string> warnings_;
};

}  // namespace longrope::model
