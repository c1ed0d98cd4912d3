// A checkpoint's tensors under their Hugging Face names, packed for a backend. The one place that knows the names.
#pragma once

#include <memory>
#include <vector>

#include "kernels/backend.hpp"
#include "model/model_config.hpp"
#include "model/safetensors.hpp"

namespace longrope::model {

/// One decoder layer. Projections that share an input are packed as one: q|k|v and gate|up, as Phi-3 stores them.
struct LayerWeights {
  std::unique_ptr<kernels::Vector> input_norm;  ///< [hidden]
  std::unique_ptr<kernels::Linear> qkv;  ///< [(heads + 2 kv_heads) head_dim, hidden], bias where the checkpoint has one
  std::unique_ptr<kernels::Vector> q_norm, k_norm;       ///< [head_dim], Qwen3; else null
  std::unique_ptr<kernels::Linear> output;               ///< [hidden, heads head_dim]
  std::unique_ptr<kernels::Vector> post_attention_norm;  ///< [hidden]
  std::unique_ptr<kernels::Linear> gate_up;              ///< [2 intermediate, hidden]
  std::unique_ptr<kernels::Linear> down;                 ///< [hidden, intermediate]
};

struct Weights {
  std::unique_ptr<kernels::Embedding> embedding;  ///< [vocabulary, hidden]
  std::vector<LayerWeights> layers;
  std::unique_ptr<kernels::Vector> final_norm;  ///< [hidden]
  std::unique_ptr<kernels::LmHead> lm_head;     ///< [vocabulary, hidden]; the embedding's where tied
};

/// Throws InputError naming the tensor that is absent, misshapen or not finite.
Weights load_weights(const ModelConfig& config, const TensorFiles& files, const kernels::Backend& backend);

}  // namespace longrope::model
