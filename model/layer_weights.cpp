#include "model/layer_weights.hpp"

#include <fmt/core.h>

#include <cstring>
#include <string>

#include "kernels/convert.hpp"
#include "kernels/error.hpp"

namespace longrope::model {
namespace {

using kernels::ConstMatrix;

std::vector<float> to_floats(const TensorView& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.bytes / kernels::bytes_of(tensor.dtype)));
  kernels::convert_to_float(tensor.data, tensor.dtype, 0, static_cast<std::int64_t>(values.size()), values.data());
  return values;
}

/// Tensors stacked along their rows into one aligned host matrix [sum of rows, cols]; float32 if their types differ.
class StackedMatrix {
 public:
  StackedMatrix(const std::vector<TensorView>& parts, std::int64_t cols) : cols_(cols), dtype_(parts.front().dtype) {
    for (const TensorView& part : parts) {
      rows_ += part.shape.front();
      if (part.dtype != dtype_) dtype_ = kernels::DType::f32;
    }
    bytes_.resize(static_cast<std::size_t>(rows_ * cols_ * kernels::bytes_of(dtype_)));
    char* out = bytes_.data();
    for (const TensorView& part : parts) {
      const std::int64_t count = part.shape.front() * cols_;
      if (part.dtype == dtype_) {
        std::memcpy(out, part.data, static_cast<std::size_t>(part.bytes));
      } else {
        kernels::convert_to_float(part.data, part.dtype, 0, count, reinterpret_cast<float*>(out));
      }
      out += count * kernels::bytes_of(dtype_);
    }
  }
  ConstMatrix view() const { return {bytes_.data(), dtype_, rows_, cols_}; }

 private:
  std::int64_t rows_ = 0, cols_ = 0;
  kernels::DType dtype_;
  std::vector<char> bytes_;
};

class Loader {
 public:
  Loader(const ModelConfig& config, const TensorFiles& files, const kernels::Backend& backend)
      : config_(config), files_(files), backend_(backend) {}

  Weights load() const {
    Weights weights;
    const std::string embedding_name = "model.embed_tokens.weight";
    const TensorView embedding = files_.require(embedding_name, {config_.vocabulary, config_.hidden_size});
    const StackedMatrix embedding_matrix({embedding}, config_.hidden_size);
    weights.embedding = backend_.pack_embedding(embedding_matrix.view());
    if (config_.tie_word_embeddings) {
      weights.lm_head = backend_.pack_lm_head(embedding_matrix.view());
    } else {
      const TensorView head = files_.require("lm_head.weight", {config_.vocabulary, config_.hidden_size});
      weights.lm_head = backend_.pack_lm_head(StackedMatrix({head}, config_.hidden_size).view());
    }
    weights.final_norm = vector("model.norm.weight", config_.hidden_size);
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) weights.layers.push_back(load_layer(layer));
    return weights;
  }

 private:
  LayerWeights load_layer(std::int64_t layer) const {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const std::int64_t hidden = config_.hidden_size;
    const std::int64_t q_rows = config_.heads * config_.head_dim;
    const std::int64_t kv_rows = config_.kv_heads * config_.head_dim;
    const std::int64_t mlp = config_.intermediate_size;
    LayerWeights w;
    w.input_norm = vector(prefix + "input_layernorm.weight", hidden);
    w.post_attention_norm = vector(prefix + "post_attention_layernorm.weight", hidden);
    const std::string attention = prefix + "self_attn.";
    if (config_.fused_projections) {
      w.qkv = linear({{attention + "qkv_proj", q_rows + 2 * kv_rows}}, hidden, config_.qkv_bias);
      w.gate_up = linear({{prefix + "mlp.gate_up_proj", 2 * mlp}}, hidden, false);
    } else {
      w.qkv = linear({{attention + "q_proj", q_rows}, {attention + "k_proj", kv_rows}, {attention + "v_proj", kv_rows}},
                     hidden, config_.qkv_bias);
      w.gate_up = linear({{prefix + "mlp.gate_proj", mlp}, {prefix + "mlp.up_proj", mlp}}, hidden, false);
    }
    if (config_.per_head_norm) {
      w.q_norm = vector(attention + "q_norm.weight", config_.head_dim);
      w.k_norm = vector(attention + "k_norm.weight", config_.head_dim);
    }
    w.output = linear({{attention + "o_proj", hidden}}, q_rows, config_.output_bias);
    w.down = linear({{prefix + "mlp.down_proj", hidden}}, mlp, false);
    return w;
  }

  std::unique_ptr<kernels::Vector> vector(const std::string& name, std::int64_t size) const {
    return backend_.pack_vector(to_floats(files_.require(name, {size})));
  }

  struct Part {
    std::string name;  ///< without ".weight"
    std::int64_t rows;
  };

  /// One packed projection out of the parts' weights, and of their biases: all of them if the config asks for biases,
  /// else those that are there (zero for the others).
  std::unique_ptr<kernels::Linear> linear(const std::vector<Part>& parts, std::int64_t cols, bool bias_required) const {
    std::vector<TensorView> weights;
    std::vector<float> bias;
    bool any_bias = false;
    for (const Part& part : parts) {
      weights.push_back(files_.require(part.name + ".weight", {part.rows, cols}));
      if (bias_required || files_.contains(part.name + ".bias")) {
        any_bias = true;
        const std::vector<float> values = to_floats(files_.require(part.name + ".bias", {part.rows}));
        bias.insert(bias.end(), values.begin(), values.end());
      } else {
        bias.insert(bias.end(), static_cast<std::size_t>(part.rows), 0.0F);
      }
    }
    if (!any_bias) bias.clear();
    return backend_.pack_linear(StackedMatrix(weights, cols).view(), bias);
  }

  const ModelConfig& config_;
  const TensorFiles& files_;
  const kernels::Backend& backend_;
};

}  // namespace

Weights load_weights(const ModelConfig& config, const TensorFiles& files, const kernels::Backend& backend) {
  return Loader(config, files, backend).load();
}

}  // namespace longrope::model
