#include "model/transformer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/error.hpp"
#include "model/hidden_state.hpp"
#include "model/layer_weights.hpp"
#include "model/safetensors.hpp"

namespace longrope::model {
namespace {

using kernels::Backend;
using kernels::DType;
using kernels::Matrix;

/// Device memory of one matrix.
class Buffer {
 public:
  Buffer(const Backend& backend, DType dtype, std::int64_t rows, std::int64_t cols)
      : memory_(backend.allocate(rows * cols * kernels::bytes_of(dtype))), matrix_{memory_.get(), dtype, rows, cols} {}
  Matrix rows(std::int64_t count) const { return matrix_.row_range(0, count); }

 private:
  kernels::DeviceMemory memory_;
  Matrix matrix_;
};

/// Everything one window needs while it runs. Shapes: hidden [tokens, hidden]; the rest [chunk, ...], reused.
/// memory_plan.cpp counts the same buffers.
struct Workspace {
  Workspace(const Backend& backend, const ModelConfig& c, const kernels::AttentionShape& shape,
            const WindowLayout& layout, std::int64_t tokens)
      : chunk(std::min(tokens, layout.chunk_tokens)),
        hidden(backend, tokens, c.hidden_size, chunk, layout.hidden_on_host),
        normed(backend, backend.activation_dtype(), chunk, c.hidden_size),
        qkv(backend, backend.projection_dtype(), chunk, shape.qkv_cols()),
        q(backend, backend.projection_dtype(), chunk, c.heads * c.head_dim),
        attended(backend, backend.activation_dtype(), chunk, c.heads * c.head_dim),
        gate_up(backend, backend.projection_dtype(), chunk, 2 * c.intermediate_size),
        gated(backend, backend.activation_dtype(), chunk, c.intermediate_size),
        kv(backend.make_kv_buffer(shape, tokens)) {}

  std::int64_t chunk;
  HiddenState hidden;
  Buffer normed, qkv, q, attended, gate_up, gated;
  std::unique_ptr<kernels::KvBuffer> kv;
};

}  // namespace

struct Transformer::Impl {
  Impl(const ModelConfig& model, const TensorFiles& files, const Backend& device, const WindowLayout& window_layout)
      : backend(device), layout(window_layout), config(model) {
    if (layout.chunk_tokens < 1) {
      throw InputError(fmt::format("[transformer] a chunk must have at least 1 token but got {}", layout.chunk_tokens));
    }
    parameters = files.parameters();
    weights_sha256 = files.sample_sha256();
    weights = load_weights(config, files, backend);
    shape = {config.heads, config.kv_heads, config.head_dim, config.rope.rotary_dim};
  }

  void run_layer(std::int64_t index, std::int64_t tokens, const kernels::RotationTable& rotation, Workspace& w) const {
    const LayerWeights& layer = weights.layers[static_cast<std::size_t>(index)];
    const std::int64_t window = config.sliding_window[static_cast<std::size_t>(index)];
    const float epsilon = config.rms_norm_epsilon;
    w.hidden.for_each_chunk(0, tokens, HiddenState::Access::update, [&](std::int64_t begin, const Matrix& hidden) {
      const std::int64_t rows = hidden.rows;
      backend.rms_norm(hidden, *layer.input_norm, epsilon, w.normed.rows(rows));
      backend.linear(*layer.qkv, w.normed.rows(rows), w.qkv.rows(rows), false);
      const kernels::RotateQkvOptions options{shape, begin, layer.q_norm.get(), layer.k_norm.get(), epsilon};
      backend.rotate_qkv(options, w.qkv.rows(rows), rotation, w.q.rows(rows), *w.kv);
      backend.attention(shape, w.q.rows(rows), *w.kv, begin, window, w.attended.rows(rows));
      backend.linear(*layer.output, w.attended.rows(rows), hidden, true);
      backend.rms_norm(hidden, *layer.post_attention_norm, epsilon, w.normed.rows(rows));
      backend.linear(*layer.gate_up, w.normed.rows(rows), w.gate_up.rows(rows), false);
      backend.gated_silu(w.gate_up.rows(rows), w.gated.rows(rows));
      backend.linear(*layer.down, w.gated.rows(rows), hidden, true);
    });
  }

  /// Sums NLL of targets ids[first_scored..] in token order, in double.
  NllSum score_hidden(std::span<const std::int32_t> ids, std::int64_t first_scored, Workspace& w) const {
    const auto tokens = static_cast<std::int64_t>(ids.size());
    NllSum sum;
    std::vector<double> nll(static_cast<std::size_t>(w.chunk));
    // The row before a target predicts it.
    w.hidden.for_each_chunk(first_scored - 1, tokens - first_scored, HiddenState::Access::read,
                            [&](std::int64_t row, const Matrix& hidden) {
                              const Matrix normed = w.normed.rows(hidden.rows);
                              backend.rms_norm(hidden, *weights.final_norm, config.rms_norm_epsilon, normed);
                              const std::span<double> out(nll.data(), static_cast<std::size_t>(hidden.rows));
                              backend.nll(*weights.lm_head, normed,
                                          ids.subspan(static_cast<std::size_t>(row + 1), out.size()), out);
                              for (const double value : out) sum.nll_nats += value;
                              sum.tokens += hidden.rows;
                            });
    if (!std::isfinite(sum.nll_nats)) sum.nll_nats = std::numeric_limits<double>::quiet_NaN();
    return sum;
  }

  const Backend& backend;
  WindowLayout layout;
  ModelConfig config;
  Weights weights;
  kernels::AttentionShape shape;
  std::int64_t parameters = 0;
  std::string weights_sha256;
};

Transformer::Transformer(const ModelConfig& config, const TensorFiles& files, const Backend& backend,
                         const WindowLayout& layout)
    : impl_(std::make_unique<Impl>(config, files, backend, layout)) {}
Transformer::Transformer(const std::filesystem::path& directory, const Backend& backend)
    : Transformer(read_model_config(directory), TensorFiles(directory), backend,
                  {backend.preferred_chunk_tokens(), false}) {}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;

const ModelConfig& Transformer::config() const { return impl_->config; }
std::int64_t Transformer::parameters() const { return impl_->parameters; }
const std::string& Transformer::weights_sha256() const { return impl_->weights_sha256; }

std::unique_ptr<kernels::RotationTable> Transformer::rotation(const RopeTable& table,
                                                              kernels::RotationPrecision precision,
                                                              std::int64_t tokens) const {
  return impl_->backend.make_rotation_table(table.rotation(impl_->config.rope, precision), tokens);
}

NllSum Transformer::score(std::span<const std::int32_t> ids, std::int64_t first_scored,
                          const kernels::RotationTable& rotation) const {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  if (tokens < 2 || first_scored < 1 || first_scored >= tokens) {
    throw InputError(fmt::format("[score] needs 1 <= first_scored < tokens but got {} and {}", first_scored, tokens));
  }
  const std::int64_t inputs = tokens - 1;  // the last token is a target only
  if (rotation.tokens() < inputs) {
    throw InputError(
        fmt::format("[score] the rotation table has {} positions but needs {}", rotation.tokens(), inputs));
  }
  const Impl& m = *impl_;
  Workspace workspace(m.backend, m.config, m.shape, m.layout, inputs);
  workspace.hidden.for_each_chunk(0, inputs, HiddenState::Access::write, [&](std::int64_t row, const Matrix& hidden) {
    m.backend.embed(*m.weights.embedding,
                    ids.subspan(static_cast<std::size_t>(row), static_cast<std::size_t>(hidden.rows)), hidden);
  });
  for (std::int64_t layer = 0; layer < m.config.layers; ++layer) m.run_layer(layer, inputs, rotation, workspace);
  return m.score_hidden(ids, first_scored, workspace);
}

}  // namespace longrope::model
