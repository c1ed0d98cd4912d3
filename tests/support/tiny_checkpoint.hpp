// A Llama checkpoint of a few thousand random weights, written as Hugging Face lays it out.
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
};

/// Writes config.json and model.safetensors (float32, untied) into `directory`.
inline void write_tiny_checkpoint(const std::filesystem::path& directory, const TinyShape& s, std::uint64_t seed = 1) {
  std::ofstream(directory / "config.json")
      << R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu","rms_norm_eps":1e-5,)"
      << R"("rope_theta":10000.0,"max_position_embeddings":64,"tie_word_embeddings":false,"hidden_size":)" << s.hidden
      << R"(,"intermediate_size":)" << s.intermediate << R"(,"num_hidden_layers":)" << s.layers
      << R"(,"num_attention_heads":)" << s.heads << R"(,"num_key_value_heads":)" << s.kv_heads << R"(,"head_dim":)"
      << s.head_dim << R"(,"vocab_size":)" << s.vocabulary << "}";

  using Size = std::vector<std::int64_t>;
  std::vector<std::pair<std::string, Size>> tensors{{"model.embed_tokens.weight", {s.vocabulary, s.hidden}},
                                                    {"model.norm.weight", {s.hidden}},
                                                    {"lm_head.weight", {s.vocabulary, s.hidden}}};
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    tensors.push_back({prefix + "input_layernorm.weight", {s.hidden}});
    tensors.push_back({prefix + "post_attention_layernorm.weight", {s.hidden}});
    tensors.push_back({prefix + "self_attn.q_proj.weight", {s.heads * s.head_dim, s.hidden}});
    tensors.push_back({prefix + "self_attn.k_proj.weight", {s.kv_heads * s.head_dim, s.hidden}});
    tensors.push_back({prefix + "self_attn.v_proj.weight", {s.kv_heads * s.head_dim, s.hidden}});
    tensors.push_back({prefix + "self_attn.o_proj.weight", {s.hidden, s.heads * s.head_dim}});
    tensors.push_back({prefix + "mlp.gate_proj.weight", {s.intermediate, s.hidden}});
    tensors.push_back({prefix + "mlp.up_proj.weight", {s.intermediate, s.hidden}});
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
