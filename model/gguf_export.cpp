#include "model/gguf_export.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string_view>

#include "kernels/error.hpp"
#include "model/hf_export.hpp"
#include "model/utf8.hpp"

namespace longrope::model {
namespace {

constexpr const char* kLongTensor = "rope_factors_long.weight";
constexpr const char* kShortTensor = "rope_factors_short.weight";
constexpr const char* kFreqsTensor = "rope_freqs.weight";

std::string float32_bytes(const std::vector<double>& factors) {
  std::string bytes;
  for (const double factor : factors) {
    const auto rounded = static_cast<float>(factor);
    if (!std::isfinite(rounded) || !(rounded > 0.0F)) {
      throw InputError(fmt::format("[export gguf] factors must be float32 but got {}", factor));
    }
    bytes += gguf_bytes(rounded);
  }
  return bytes;
}

/// The GGUF architectures a checkpoint of ours can have become.
void check_architecture(const std::string& architecture, const ModelConfig& config, const std::string& where) {
  if (architecture == "qwen3" || config.model_type == "qwen3") {
    throw InputError(
        fmt::format("[{}] must be of an architecture whose graph takes rescale factors but got '{}' (llama.cpp's Qwen3 "
                    "has none, and "
                    "its q_norm and k_norm keep it from being written as llama; use --to hf, vllm or sglang)",
                    where, excerpt(architecture)));
  }
  const std::string& type = config.model_type;
  const bool fits = (architecture == "llama" && (type == "llama" || type == "mistral")) ||
                    (architecture == "minicpm" && type == "llama") || (architecture == "phi3" && type == "phi3") ||
                    (architecture == "qwen2" && type == "qwen2");
  if (!fits) {
    throw InputError(
        fmt::format("[{}: key 'general.architecture'] must be that of the checkpoint, a {}, but got '{}' (llama.cpp "
                    "uses tables for "
                    "llama, minicpm and phi3; qwen2 is rewritten as llama)",
                    where, type, excerpt(architecture)));
  }
}

void expect_same(const std::string& where, const std::string& key, std::int64_t got, std::int64_t expected) {
  if (got == expected) return;
  throw InputError(fmt::format("[{}: key '{}'] must be the checkpoint's {} but got {} (a GGUF of another model?)",
                               where, key, expected, got));
}

void check_geometry(const GgufFile& file, const std::string& prefix, const ModelConfig& config) {
  const std::string where = path_text(file.path());
  const auto check = [&](const std::string& name, std::int64_t expected, bool required) {
    const auto got = file.find_integer(prefix + name);
    if (got || required) expect_same(where, prefix + name, got.value_or(0), expected);
  };
  check("embedding_length", config.hidden_size, true);
  check("block_count", config.layers, true);
  check("attention.head_count", config.heads, true);
  if (config.kv_heads != config.heads || file.find(prefix + "attention.head_count_kv") != nullptr) {
    check("attention.head_count_kv", config.kv_heads, true);
  }
  check("attention.key_length", config.head_dim, config.head_dim * config.heads != config.hidden_size);
  check("rope.dimension_count", config.rope.rotary_dim, config.rope.rotary_dim != config.hidden_size / config.heads);
  const float theta = file.find_float(prefix + "rope.freq_base").value_or(10000.0F);
  if (theta != static_cast<float>(config.rope.theta)) {
    throw InputError(fmt::format("[{}: key '{}rope.freq_base'] must be the checkpoint's {} but got {}", where, prefix,
                                 config.rope.theta, theta));
  }
}

/// Keys that a new table replaces or that would scale on top of it.
bool is_replaced(std::string_view name) {
  return name == "rope.scale_linear" || (name.starts_with("rope.scaling.") && name != "rope.scaling.finetuned");
}

}  // namespace

GgufTables read_gguf_tables(const GgufFile& file) {
  const std::string where = path_text(file.path());
  GgufTables tables;
  tables.architecture = file.find_string("general.architecture").value_or("");
  const std::string prefix = tables.architecture + ".";
  const auto refuse = [&](const std::string& what) { throw InputError(fmt::format("[{}] must {}", where, what)); };
  if (file.find_string(prefix + "rope.scaling.type").value_or("") != "longrope")
    refuse("have rope.scaling.type longrope");
  for (const char* key : {"rope.scaling.factor", "rope.scale_linear"}) {
    if (file.find(prefix + key) != nullptr) refuse(fmt::format("not have {}, which scales on top of the table", key));
  }
  if (file.find_tensor(kFreqsTensor) != nullptr) refuse("not have rope_freqs.weight beside the tables");
  const auto factors = [&](const char* name) {
    const GgufTensor* tensor = file.find_tensor(name);
    if (tensor == nullptr || tensor->type != kGgufTensorF32 || tensor->dims.size() != 1) {
      refuse(fmt::format("have the tensor {}, one-dimensional F32", name));
    }
    std::vector<float> values(static_cast<std::size_t>(tensor->dims[0]));
    std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
    return values;
  };
  tables.long_factors = factors(kLongTensor);
  tables.short_factors = factors(kShortTensor);
  tables.attention_factor = file.find_float(prefix + "rope.scaling.attn_factor").value_or(1.0F);
  tables.theta = file.find_float(prefix + "rope.freq_base").value_or(10000.0F);
  tables.context_length = file.find_integer(prefix + "context_length").value_or(0);
  tables.original_length =
      file.find_integer(prefix + "rope.scaling.original_context_length").value_or(tables.context_length);
  return tables;
}

GgufExport::GgufExport(const std::filesystem::path& gguf, const ExportTables& tables, const ModelConfig& config)
    : tables_(tables),
      input_(gguf),
      heads_(config.heads),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      original_length_(config.rope.original_length) {
  const std::string where = path_text(gguf);
  if (input_.find_integer("split.count").value_or(1) > 1) {
    throw InputError(
        fmt::format("[{}] must be a whole model but is one part of a split one (merge it first: "
                    "llama-gguf-split --merge)",
                    where));
  }
  input_architecture_ = input_.find_string("general.architecture").value_or("");
  check_architecture(input_architecture_, config, where);
  check_geometry(input_, input_architecture_ + ".", config);
  architecture_ = rewrites_qwen2() ? "llama" : input_architecture_;
  if (rewrites_qwen2() && input_.find_tensor("output.bias") != nullptr) {
    throw InputError(fmt::format("[{}] must not have the tensor output.bias, which architecture llama lacks", where));
  }
  check_common_limits(tables, config, "gguf", "llama.cpp");
  if (tables.target_length > std::numeric_limits<std::uint32_t>::max()) {
    throw InputError(fmt::format("[export gguf] the target length must be at most {} but got {}",
                                 std::numeric_limits<std::uint32_t>::max(), tables.target_length));
  }
  long_bytes_ = float32_bytes(tables.long_table.factors);
  short_bytes_ = float32_bytes(tables.short_table.factors);
  if (tables.short_table.attention_factor != tables.long_table.attention_factor) {
    warnings_.push_back(
        fmt::format("llama.cpp applies one attention factor, {:.6g}, to the short table too ({:.6g} here)",
                    tables.long_table.attention_factor, tables.short_table.attention_factor));
  }
  const std::int64_t window = *std::max_element(config.sliding_window.begin(), config.sliding_window.end());
  if (window > 0 && window < tables.target_length) {
    warnings_.push_back(
        fmt::format("the checkpoint attends over {} tokens at most, and llama.cpp's {} over all: it does otherwise "
                    "than measured here",
                    window, architecture_));
  }
  if (tables.target_length > original_length_ && original_length_ % 256 != 0) {
    warnings_.push_back(
        fmt::format("llama.cpp pads its context to a multiple of 256: a context of {} counts as {} and takes the long "
                    "table",
                    original_length_, (original_length_ + 255) / 256 * 256));
  }
  for (const GgufTensor& tensor : input_.tensors()) row_source(tensor);  // refuses what cannot be permuted
}

std::vector<std::int64_t> GgufExport::row_source(const GgufTensor& tensor) const {
  std::vector<std::int64_t> source;
  if (!rewrites_qwen2() || !tensor.name.starts_with("blk.")) return source;
  const auto is = [&](std::string_view part) {
    return tensor.name.ends_with(fmt::format(".{}.weight", part)) ||
           tensor.name.ends_with(fmt::format(".{}.bias", part));
  };
  std::int64_t rotated = 0;  // heads whose rows pair i with i + head_dim/2 and shall pair 2i with 2i + 1
  std::int64_t kept = 0;
  if (is("attn_q")) rotated = heads_;
  if (is("attn_k")) rotated = kv_heads_;
  if (is("attn_qkv")) {
    rotated = heads_ + kv_heads_;
    kept = kv_heads_;
  }
  if (rotated == 0) return source;
  const std::int64_t rows = tensor.dims.size() == 1 ? tensor.dims[0] : tensor.rows();
  const bool whole_elements = tensor.dims.size() > 1 || gguf_block(tensor.type)->elements == 1;
  if (rows != (rotated + kept) * head_dim_ || !whole_elements || tensor.dims.size() > 2) {
    throw InputError(fmt::format("[{}: tensor '{}'] must have {} rows that can be put in another order but got {}",
                                 path_text(input_.path()), excerpt(tensor.name), (rotated + kept) * head_dim_, rows));
  }
  for (std::int64_t head = 0; head < rotated; ++head) {
    for (std::int64_t i = 0; i < head_dim_ / 2; ++i) {
      source.push_back(head * head_dim_ + i);
      source.push_back(head * head_dim_ + head_dim_ / 2 + i);
    }
  }
  for (std::int64_t row = rotated * head_dim_; row < rows; ++row) source.push_back(row);
  return source;
}

bool GgufExport::all_float32() const {
  return std::all_of(input_.tensors().begin(), input_.tensors().end(),
                     [](const GgufTensor& tensor) { return tensor.type == kGgufTensorF32; });
}

std::vector<std::string> GgufExport::new_values() const {
  const std::string prefix = architecture_ + ".";
  const auto typed = [](const std::string& key, GgufType type, const std::string& payload) {
    return gguf_string(key) + gguf_bytes(static_cast<std::uint32_t>(type)) + payload;
  };
  const auto u32 = [&](const std::string& name, std::int64_t value) {
    return typed(prefix + name, GgufType::u32, gguf_bytes(static_cast<std::uint32_t>(value)));
  };
  std::vector<std::string> values;
  const std::string input_prefix = input_architecture_ + ".";
  for (const GgufValue& value : input_.values()) {
    if (value.key == "general.architecture") {
      values.push_back(typed("general.architecture", GgufType::string, gguf_string(architecture_)));
    } else if (!value.key.starts_with(input_prefix)) {
      values.emplace_back(value.encoded);
    } else {
      const std::string_view name = value.key.substr(input_prefix.size());
      if (is_replaced(name) || name == "context_length") continue;
      const std::string_view typed_payload = value.encoded.substr(sizeof(std::uint64_t) + value.key.size());
      values.push_back(gguf_string(prefix + std::string(name)) + std::string(typed_payload));
    }
  }
  values.push_back(u32("context_length", tables_.target_length));
  values.push_back(typed(prefix + "rope.scaling.type", GgufType::string, gguf_string("longrope")));
  values.push_back(u32("rope.scaling.original_context_length", original_length_));
  values.push_back(typed(prefix + "rope.scaling.attn_factor", GgufType::f32,
                         gguf_bytes(static_cast<float>(tables_.long_table.attention_factor))));
  // Architecture qwen2 rotates whole heads of hidden/heads; llama reads the same from here.
  if (rewrites_qwen2() && input_.find(input_prefix + "rope.dimension_count") == nullptr) {
    values.push_back(u32("rope.dimension_count", head_dim_));
  }
  return values;
}

std::vector<GgufNewTensor> GgufExport::new_tensors() const {
  std::vector<GgufNewTensor> tensors;
  for (const GgufTensor& tensor : input_.tensors()) {
    if (tensor.name == kFreqsTensor || tensor.name == kLongTensor || tensor.name == kShortTensor) continue;
    tensors.push_back(GgufNewTensor::copy_of(tensor));
    tensors.back().row_source = row_source(tensor);
    if (tensor.dims.size() == 1) tensors.back().row_bytes = gguf_block(tensor.type)->bytes;
  }
  const auto pairs = static_cast<std::int64_t>(tables_.long_table.factors.size());
  tensors.push_back({kLongTensor, {pairs}, kGgufTensorF32, long_bytes_, {}, 4});
  tensors.push_back({kShortTensor, {pairs}, kGgufTensorF32, short_bytes_, {}, 4});
  return tensors;
}

void GgufExport::write(NewFile& file) const { write_gguf(file, input_.alignment(), new_values(), new_tensors()); }

void GgufExport::verify(const std::filesystem::path& written) const {
  const GgufFile file(written);
  const std::string where = path_text(written);
  const auto differs = [&](const std::string& what) {
    throw RuntimeError(fmt::format("[{}] must hold what was exported but {}", where, what));
  };
  read_gguf_tables(file);
  const std::vector<std::string> values = new_values();
  const std::vector<GgufNewTensor> tensors = new_tensors();
  if (file.values().size() != values.size()) differs(fmt::format("has {} keys", file.values().size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (file.values()[i].encoded != values[i]) differs(fmt::format("key '{}' differs", excerpt(file.values()[i].key)));
  }
  if (file.tensors().size() != tensors.size()) differs(fmt::format("has {} tensors", file.tensors().size()));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const GgufTensor& got = file.tensors()[i];
    const GgufNewTensor& expected = tensors[i];
    const std::string name = excerpt(got.name);
    if (got.name != expected.name || got.dims != expected.dims || got.type != expected.type) {
      differs(fmt::format("tensor '{}' differs in name, shape or type", name));
    }
    if (expected.row_source.empty() && got.data != expected.data) differs(fmt::format("tensor '{}' differs", name));
    const auto bytes = static_cast<std::size_t>(expected.row_bytes);
    for (std::size_t row = 0; row < expected.row_source.size(); ++row) {
      const auto source = static_cast<std::size_t>(expected.row_source[row]);
      if (got.data.substr(row * bytes, bytes) != expected.data.substr(source * bytes, bytes)) {
        differs(fmt::format("tensor '{}' differs in row {}", name, row));
      }
    }
  }
}

}  // namespace longrope::model
