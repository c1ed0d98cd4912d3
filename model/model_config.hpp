// config.json of a Hugging Face checkpoint, checked: Llama, Mistral, Qwen2, Qwen3, Phi-3.
// Reads both the transformers v4 keys (rope_theta, rope_scaling) and v5's rope_parameters.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/rope_geometry.hpp"

namespace longrope::model {

/// The scaling a checkpoint's own config asks for, as written there (transformers' modeling_rope_utils names).
struct ConfigRopeScaling {
  std::string type = "default";  ///< default, linear, dynamic, yarn, llama3, longrope ("su" reads as longrope)
  std::optional<double> factor;
  std::optional<double> attention_factor;
  std::optional<double> beta_fast;
  std::optional<double> beta_slow;
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  bool truncate = true;  ///< yarn: floor and ceil of the ramp's ends
  std::optional<double> low_freq_factor;
  std::optional<double> high_freq_factor;
  std::vector<double> short_factor;  ///< [rotary_dim/2] if longrope
  std::vector<double> long_factor;   ///< [rotary_dim/2] if longrope
};

struct ModelConfig {
  std::string architecture;  ///< "LlamaForCausalLM", ...
  std::string model_type;    ///< "llama", "mistral", "qwen2", "qwen3", "phi3"
  std::int64_t vocabulary = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  float rms_norm_epsilon = 0.0F;
  bool tie_word_embeddings = false;
  bool fused_projections = false;            ///< qkv_proj and gate_up_proj (Phi-3)
  bool per_head_norm = false;                ///< q_norm and k_norm (Qwen3)
  bool qkv_bias = false;                     ///< q, k and v must have biases: Qwen2, or attention_bias
  bool output_bias = false;                  ///< so must o_proj: attention_bias
  std::vector<std::int64_t> sliding_window;  ///< [layers] tokens; 0: full attention
  std::optional<std::int32_t> bos_token_id;
  std::int64_t max_position_embeddings = 0;
  RopeGeometry rope;
  ConfigRopeScaling rope_scaling;
  std::string sha256;  ///< hex digest of config.json's bytes
};

/// Reads and checks `directory`/config.json. Throws InputError (unreadable, bad JSON, unknown architecture by name,
/// missing or absurd values: every message names the file and the key).
ModelConfig read_model_config(const std::filesystem::path& directory);

}  // namespace longrope::model
