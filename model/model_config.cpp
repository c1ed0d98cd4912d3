#include "model/model_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "kernels/error.hpp"
#include "model/config_rope.hpp"
#include "model/json_input.hpp"
#include "model/mapped_file.hpp"
#include "model/sha256.hpp"
#include "model/utf8.hpp"

namespace longrope::model {

namespace {

using nlohmann::json;

// No checkpoint comes near these; a file that exceeds them is damaged or means harm.
constexpr std::int64_t kMaxConfigBytes = 16 << 20;
constexpr std::int64_t kMaxLayers = 10'000;
constexpr std::int64_t kMaxHidden = 1 << 20;
constexpr std::int64_t kMaxIntermediate = 1 << 23;
constexpr std::int64_t kMaxHeads = 1 << 16;
constexpr std::int64_t kMaxHeadDim = 1 << 14;
constexpr std::int64_t kMaxVocabulary = 1 << 24;

/// What transformers' configuration classes assume where config.json is silent.
struct Family {
  std::string_view architecture;
  std::string_view model_type;
  bool fused_projections;
  bool per_head_norm;
  std::int64_t kv_heads;  ///< 0: as many as heads
  std::int64_t head_dim;  ///< 0: hidden_size / heads
  double rms_norm_eps;
};

constexpr std::array<Family, 5> kFamilies{{
    {"LlamaForCausalLM", "llama", false, false, 0, 0, 1e-6},
    {"MistralForCausalLM", "mistral", false, false, 8, 0, 1e-6},
    {"Qwen2ForCausalLM", "qwen2", false, false, 0, 0, 1e-6},
    {"Qwen3ForCausalLM", "qwen3", false, true, 0, 128, 1e-6},
    {"Phi3ForCausalLM", "phi3", true, false, 0, 0, 1e-5},
}};

/// By architectures[0], or by model_type where that is absent. Throws InputError listing the supported ones.
const Family& read_family(const JsonObject& config) {
  std::string key = "architectures";
  std::string name;
  if (config.has(key) && !(config.value(key).is_array() && config.value(key).empty())) {
    const json& list = config.value(key);
    if (!list.is_array() || !list.front().is_string()) config.refuse(key, "a list of names");
    name = list.front().get<std::string>();
  } else {
    key = "model_type";
    name = config.find_string(key).value_or("");
  }
  std::string supported;
  for (const Family& family : kFamilies) {
    if (name == (key == "model_type" ? family.model_type : family.architecture)) return family;
    supported += fmt::format("{}{}", supported.empty() ? "" : ", ", family.architecture);
  }
  throw InputError(fmt::format("[{}: {}] must be a supported architecture but got '{}' (supported: {})", config.where(),
                               key, excerpt(name), supported));
}

/// Refuses what would change the forward pass and that we do not compute.
void refuse_unsupported(const JsonObject& config) {
  const auto activation = config.find_string("hidden_act");
  if (activation && *activation != "silu" && *activation != "swish") config.refuse("hidden_act", "'silu'");
  if (config.find_boolean("mlp_bias").value_or(false)) {
    config.refuse("mlp_bias", "false", "biases in the MLP are not supported");
  }
  if (config.has("quantization_config")) {
    const JsonObject quantization(config.value("quantization_config"), config.where() + ": quantization_config");
    const std::string method = quantization.find_string("quant_method").value_or("unnamed");
    throw InputError(
        fmt::format("[{}: quantization_config] must be absent but got quantisation method '{}' "
                    "(use the checkpoint in bf16, f16 or f32)",
                    config.where(), excerpt(method)));
  }
}

/// heads, kv_heads and head_dim. Reads result.hidden_size.
void read_heads(const JsonObject& config, const Family& family, ModelConfig& result) {
  result.heads = config.integer("num_attention_heads", 1, kMaxHeads);
  // As transformers: a null is as many as heads, an absent key the architecture's default; ours never fails to divide.
  const bool family_default =
      !config.contains("num_key_value_heads") && family.kv_heads != 0 && result.heads % family.kv_heads == 0;
  result.kv_heads = config.find_integer("num_key_value_heads", 1, kMaxHeads)
                        .value_or(family_default ? family.kv_heads : result.heads);
  if (result.heads % result.kv_heads != 0) {
    throw InputError(fmt::format("[{}: num_key_value_heads] must divide num_attention_heads {} but got {}",
                                 config.where(), result.heads, result.kv_heads));
  }
  if (const auto head_dim = config.find_integer("head_dim", 2, kMaxHeadDim)) {
    result.head_dim = *head_dim;
  } else if (family.head_dim != 0) {
    result.head_dim = family.head_dim;
  } else {
    if (result.hidden_size % result.heads != 0 || result.hidden_size / result.heads > kMaxHeadDim) {
      config.refuse("hidden_size", fmt::format("a multiple of num_attention_heads {}", result.heads),
                    "or give head_dim");
    }
    result.head_dim = result.hidden_size / result.heads;
  }
  if (result.heads * result.head_dim > kMaxHidden) {
    throw InputError(fmt::format("[{}: head_dim] must keep num_attention_heads x head_dim within {} but got {} x {}",
                                 config.where(), kMaxHidden, result.heads, result.head_dim));
  }
}

/// Qwen's layer_types: true where a layer's attention slides.
std::vector<bool> read_layer_types(const JsonObject& config, std::int64_t layers) {
  const json& list = config.value("layer_types");
  if (!list.is_array() || static_cast<std::int64_t>(list.size()) != layers) {
    config.refuse("layer_types", fmt::format("a list of {} names", layers));
  }
  std::vector<bool> slides;
  for (const json& item : list) {
    if (item != "sliding_attention" && item != "full_attention") {
      throw InputError(fmt::format("[{}: layer_types[{}]] must be full_attention or sliding_attention but got {}",
                                   config.where(), slides.size(), excerpt_of(item)));
    }
    slides.push_back(item == "sliding_attention");
  }
  return slides;
}

/// Tokens per layer, 0 for full attention: off unless the config turns it on. Llama has none; Mistral and Phi-3 slide
/// in all layers where sliding_window is a number; Qwen only with use_sliding_window, in the layers it names.
std::vector<std::int64_t> read_sliding_window(const JsonObject& config, const ModelConfig& result) {
  std::vector<std::int64_t> window(static_cast<std::size_t>(result.layers), 0);
  const std::string& type = result.model_type;
  if (type == "llama") return window;
  const bool qwen = type == "qwen2" || type == "qwen3";
  if (qwen && !config.find_boolean("use_sliding_window").value_or(false)) return window;
  const auto tokens = config.find_integer("sliding_window", 1, kMaxContextTokens);
  if (!tokens) return window;
  std::vector<bool> slides(window.size(), true);
  if (qwen && config.has("layer_types")) {
    slides = read_layer_types(config, result.layers);
  } else if (qwen) {
    const std::int64_t first = config.find_integer("max_window_layers", 0, kMaxLayers).value_or(28);
    for (std::size_t i = 0; i < slides.size(); ++i) slides[i] = static_cast<std::int64_t>(i) >= first;
  }
  for (std::size_t i = 0; i < window.size(); ++i) window[i] = slides[i] ? *tokens : 0;
  return window;
}

/// An integer, null, or a list of them, whose first counts.
std::optional<std::int32_t> read_bos(const JsonObject& config) {
  const char* const key = "bos_token_id";
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  if (!config.has(key)) return std::nullopt;
  const json& value = config.value(key);
  if (!value.is_array()) return static_cast<std::int32_t>(*config.find_integer(key, 0, kMax));
  if (value.empty()) return std::nullopt;
  const json first{{key, value.front()}};
  return static_cast<std::int32_t>(JsonObject(first, config.where()).integer(key, 0, kMax));
}

}  // namespace

ModelConfig read_model_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "config.json";
  const std::string where = path_text(path);
  const std::string bytes = read_small_file(path, kMaxConfigBytes);
  const json parsed = parse_json_object(bytes, where);
  const JsonObject config(parsed, where);
  const Family& family = read_family(config);
  refuse_unsupported(config);

  ModelConfig result;
  result.architecture = family.architecture;
  result.model_type = family.model_type;
  result.fused_projections = family.fused_projections;
  result.per_head_norm = family.per_head_norm;
  const bool attention_bias = config.find_boolean("attention_bias").value_or(false);
  result.qkv_bias = attention_bias || result.model_type == "qwen2";
  result.output_bias = attention_bias;
  result.vocabulary = config.integer("vocab_size", 1, kMaxVocabulary);
  result.hidden_size = config.integer("hidden_size", 1, kMaxHidden);
  result.intermediate_size = config.integer("intermediate_size", 1, kMaxIntermediate);
  result.layers = config.integer("num_hidden_layers", 1, kMaxLayers);
  read_heads(config, family, result);
  result.rms_norm_epsilon = static_cast<float>(config.find_number("rms_norm_eps", 0.0).value_or(family.rms_norm_eps));
  if (!std::isfinite(result.rms_norm_epsilon) || !(result.rms_norm_epsilon > 0.0F)) {
    config.refuse("rms_norm_eps", "a positive float32");
  }
  result.tie_word_embeddings = config.find_boolean("tie_word_embeddings").value_or(false);
  result.max_position_embeddings = config.integer("max_position_embeddings", 1, kMaxContextTokens);
  result.sliding_window = read_sliding_window(config, result);
  result.bos_token_id = read_bos(config);
  read_rope(config, result);
  result.sha256 = sha256_hex(bytes);
  return result;
}

}  // namespace longrope::model
