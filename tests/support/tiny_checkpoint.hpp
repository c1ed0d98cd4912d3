// A checkpoint of a few thousand random weights, written as Hugging Face lays it out: a Llama unless asked otherwise.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace longrope::tests {

struct TinyShape {
  std::int64_t hidden = 32;
  std::int64_t intermediate = 48;
  std::int64_t layers = 2;
  std::int64_t heads = 4;
  std::int64_t kv_heads = 2;
  std::int64_t head_dim = 8;
  std::int64_t vocabulary = 96;
  std::string kind = "llama";       ///< model_type: llama, mistral, qwen2, qwen3 or phi3
  std::int64_t sliding_window = 0;  ///< of all layers, of qwen's but the first; 0: none
  bool tied = false;
  bool attention_bias = false;  ///< llama and qwen3; qwen2 has biases anyhow
  double partial_rotary = 1.0;  ///< phi3
};

/// Writes config.json and model.safetensors (float32) into `directory`.
inline void write_tiny_checkpoint(const std::filesystem::path& directory, const TinyShape& s, std::uint64_t seed = 1) {
  std::ofstream(directory / "config.json")
      << R"({"architectures":[")"
      << (s.kind == "phi3" ? "Phi3" : std::string(1, static_cast<char>(s.kind[0] - 32)) + s.kind.substr(1))
      << R"(ForCausalLM"],"model_type":")" << s.kind
      << R"(","hidden_act":"silu","rms_norm_eps":1e-5,"rope_theta":10000.0,)"
      << R"("max_position_embeddings":64,"tie_word_embeddings":)" << (s.tied ? "true" : "false")
      << R"(,"attention_bias":)" << (s.attention_bias ? "true" : "false") << R"(,"partial_rotary_factor":)"
      << s.partial_rotary << R"(,"use_sliding_window":)" << (s.sliding_window > 0 ? "true" : "false")
      << R"(,"max_window_layers":1,"sliding_window":)"
      << (s.sliding_window > 0 ? std::to_string(s.sliding_window) : "null") << R"(,"hidden_size":)" << s.hidden
      << R"(,"intermediate_size":)" << s.intermediate << R"(,"num_hidden_layers":)" << s.layers
      << R"(,"num_attention_heads":)" << s.heads << R"(,"num_key_value_heads":)" << s.kv_heads << R"(,"head_dim":)"
      << s.head_dim << R"(,"vocab_size":)" << s.vocabulary << "}";

  using Size = std::vector<std::int64_t>;
  std::vector<std::pair<std::string, Size>> tensors{{"model.embed_tokens.weight", {s.vocabulary, s.hidden}},
                                                    {"model.norm.weight", {s.hidden}}};
  if (!s.tied) tensors.push_back({"lm_head.weight", {s.vocabulary, s.hidden}});
  const bool fused = s.kind == "phi3";
  const std::int64_t q = s.heads * s.head_dim;
  const std::int64_t k = s.kv_heads * s.head_dim;
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    tensors.push_back({prefix + "input_layernorm.weight", {s.hidden}});
    tensors.push_back({prefix + "post_attention_layernorm.weight", {s.hidden}});
    if (fused) {
      tensors.push_back({prefix + "self_attn.qkv_proj.weight", {q + 2 * k, s.hidden}});
      tensors.push_back({prefix + "mlp.gate_up_proj.weight", {2 * s.intermediate, s.hidden}});
    } else {
      for (const auto& [name, rows] : {std::pair<std::string, std::int64_t>{"q", q}, {"k", k}, {"v", k}}) {
        tensors.push_back({prefix + "self_attn." + name + "_proj.weight", {rows, s.hidden}});
        if (s.attention_bias || s.kind == "qwen2")
          tensors.push_back({prefix + "self_attn." + name + "_proj.bias", {rows}});
      }
      tensors.push_back({prefix + "mlp.gate_proj.weight", {s.intermediate, s.hidden}});
      tensors.push_back({prefix + "mlp.up_proj.weight", {s.intermediate, s.hidden}});
    }
    if (s.kind == "qwen3") {
      tensors.push_back({prefix + "self_attn.q_norm.weight", {s.head_dim}});
      tensors.push_back({prefix + "self_attn.k_norm.weight", {s.head_dim}});
    }
    tensors.push_back({prefix + "self_attn.o_proj.weight", {s.hidden, q}});
    if (s.attention_bias) tensors.push_back({prefix + "self_attn.o_proj.bias", {s.hidden}});
    tensors.push_back({prefix + "mlp.down_proj.weight", {s.hidden, s.intermediate}});
  }
  std::mt19937_64 random(seed);
  std::string header = "{";
  std::vector<float> values;
  for (const auto& [name, size] : tensors) {
    std::int64_t count = 1;
    std::string shape;
    for (const std::int64_t extent : size) {
      count *= extent;
      shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    }
    const auto begin = values.size() * sizeof(float);
    std::normal_distribution<float> draw(size.size() == 1 ? 1.0F : 0.0F, 0.3F);
    for (std::int64_t i = 0; i < count; ++i) values.push_back(draw(random));
    header += (header.size() == 1 ? "\"" : ",\"") + name + R"(":{"dtype":"F32","shape":[)" + shape +
              R"(],"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(values.size() * sizeof(float)) +
              "]}";
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::ofstream file(directory / "model.safetensors", std::ios::binary);
  const std::uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

/// Token ids in [0, vocabulary).
inline std::vector<std::int32_t> random_ids(std::int64_t count, std::int64_t vocabulary, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocabulary));
  return ids;
}

}  // namespace longrope::tests
