#include "model/transformer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>

#include "kernels/error.hpp"
#include "model/decoder.hpp"
#include "model/hidden_state.hpp"
#include "model/safetensors.hpp"

namespace longrope::model {
namespace {

using kernels::Backend;
using kernels::Matrix;

/// Calls visit(first, count) for each run of the rows [position, position + rows) that predict a scored target, counted
/// from `position`: the row before a target predicts it.
template <typename Visit>
void for_each_scored_run(const Sequence& sequence, std::int64_t position, std::int64_t rows, Visit visit) {
  if (sequence.targets.empty()) {
    const std::int64_t skipped = std::clamp<std::int64_t>(sequence.first_scored - 1 - position, 0, rows);
    if (skipped < rows) visit(skipped, rows - skipped);
    return;
  }
  const auto end = sequence.targets.end();
  for (auto at = std::lower_bound(sequence.targets.begin(), end, position + 1); at != end && *at <= position + rows;) {
    const std::int64_t first = *at - 1 - position;
    std::int64_t count = 0;
    for (; at != end && *at <= position + rows && *at - 1 - position == first + count; ++at) ++count;
    visit(first, count);
  }
}

bool any_scored(std::span<const Sequence> sequences, std::int64_t position, std::int64_t rows) {
  bool any = false;
  for (const Sequence& s : sequences)
    for_each_scored_run(s, position, rows, [&](std::int64_t, std::int64_t) { any = true; });
  return any;
}

/// Sequences of equal length on their way through the layers, interleaved: a visit has `block` positions of each in
/// turn, [sequence, position], the last visit fewer, so that all are at the same position and no visit has more rows
/// than a chunk, for as many sequences as the layout has room for. Where attention's bits belong to its chunk, `block`
/// is that of a full pass in every pass. Shapes: hidden [sequences * tokens, hidden]; the rest [visit, ...], reused.
/// memory_plan.cpp counts the same buffers.
struct Batch {
  Batch(const Backend& backend, const ModelConfig& c, const kernels::AttentionShape& shape, const WindowLayout& layout,
        std::span<const Sequence> all, std::int64_t inputs)
      : sequences(all),
        count(static_cast<std::int64_t>(all.size())),
        tokens(inputs),
        block(positions_at_once(backend.rows_independent() ? count : layout.max_sequences, layout, inputs)),
        hidden(backend, count * tokens, c.hidden_size, count * block, layout.hidden_on_host),
        normed(backend, backend.activation_dtype(), count * block, c.hidden_size),
        qkv(backend, backend.projection_dtype(), count * block, shape.qkv_cols()),
        q(backend, backend.projection_dtype(), count * block, c.heads * c.head_dim),
        attended(backend, backend.activation_dtype(), count * block, c.heads * c.head_dim),
        gate_up(backend, backend.projection_dtype(), count * block, 2 * c.intermediate_size),
        gated(backend, backend.activation_dtype(), count * block, c.intermediate_size) {
    for (std::int64_t n = 0; n < count; ++n) {
      first_scored = std::min(first_scored, of(n).targets.empty() ? of(n).first_scored : of(n).targets.front());
      kv.push_back(backend.make_kv_buffer(shape, tokens));
      const auto same_ids = [&](std::int64_t other) {
        return of(other).ids.data() == of(n).ids.data() && of(other).ids.size() == of(n).ids.size();
      };
      const auto found = std::find_if(distinct.begin(), distinct.end(), same_ids);
      source.push_back(found - distinct.begin());
      if (found == distinct.end()) distinct.push_back(n);
    }
  }

  const Sequence& of(std::int64_t n) const { return sequences[static_cast<std::size_t>(n)]; }

  std::span<const Sequence> sequences;
  std::int64_t count;
  std::int64_t tokens;
  std::int64_t block;
  std::int64_t first_scored = tokens;  ///< of all sequences: the lowest
  HiddenState hidden;
  Buffer normed, qkv, q, attended, gate_up, gated;
  std::vector<std::unique_ptr<kernels::KvBuffer>> kv;  ///< [sequences]
  /// Sequences before the first rotation differ by their ids alone: the first of each kind, and which kind each is of.
  std::vector<std::int64_t> distinct, source;

 private:
  /// How many positions of each of `count` sequences: all where they fit, else whole blocks of attention's queries that
  /// fill the CPU's products best.
  static std::int64_t positions_at_once(std::int64_t count, const WindowLayout& layout, std::int64_t tokens) {
    const std::int64_t fit = layout.chunk_tokens / count;
    constexpr std::int64_t kQueries = 32;
    constexpr std::int64_t kProductRows = 256;
    if (fit >= tokens) return tokens;
    std::int64_t best = std::max<std::int64_t>(1, fit);
    double filled = 0.0;  // of the products' rows
    for (std::int64_t block = fit / kQueries * kQueries; block > fit / 2; block -= kQueries) {
      const std::int64_t products = (count * block + kProductRows - 1) / kProductRows;
      const double share = static_cast<double>(count * block) / static_cast<double>(products * kProductRows);
      if (share > filled) {
        filled = share;
        best = block;
      }
    }
    return best;
  }
};

}  // namespace

struct Transformer::Impl : Decoder {
  Impl(const ModelConfig& model, const TensorFiles& files, const Backend& device, const WindowLayout& window_layout)
      : Decoder{device, window_layout, model, {}, {}} {
    if (layout.chunk_tokens < 1) {
      throw InputError(fmt::format("[transformer] a chunk must have at least 1 token but got {}", layout.chunk_tokens));
    }
    parameters = files.parameters();
    weights_sha256 = files.sample_sha256();
    weights = load_weights(config, files, backend);
    if (!backend.rows_joinable()) layout.max_sequences = 1;
    shape = {config.heads, config.kv_heads, config.head_dim, config.rope.rotary_dim};
  }

  void embed(Batch& b) const {
    b.hidden.for_each_chunk(
        0, b.count * b.tokens, HiddenState::Access::write, [&](std::int64_t begin, const Matrix& hidden) {
          const std::int64_t rows = hidden.rows / b.count;
          for (std::int64_t n = 0; n < b.count; ++n) {
            const auto ids =
                b.of(n).ids.subspan(static_cast<std::size_t>(begin / b.count), static_cast<std::size_t>(rows));
            backend.embed(*weights.embedding, ids, hidden.row_range(n * rows, rows));
          }
        });
  }

  void run_layer(std::int64_t index, Batch& b) const {
    const LayerWeights& layer = weights.layers[static_cast<std::size_t>(index)];
    const std::int64_t window = config.sliding_window[static_cast<std::size_t>(index)];
    const float epsilon = config.rms_norm_epsilon;
    b.hidden.for_each_chunk(
        0, b.count * b.tokens, HiddenState::Access::update, [&](std::int64_t begin, const Matrix& hidden) {
          const std::int64_t rows = hidden.rows / b.count;  // of each sequence
          const std::int64_t position = begin / b.count;
          // Where no row is scored the last layer's K and V are read, and nothing more.
          const bool read = index + 1 < config.layers || any_scored(b.sequences, position, rows);
          const auto of = [rows](const Buffer& buffer, std::int64_t n) { return buffer.row_range(n * rows, rows); };
          std::int64_t projected = b.count;
          if (index == 0) {  // no table has had its say yet
            projected = static_cast<std::int64_t>(b.distinct.size());
            for (std::int64_t d = 0; d < projected; ++d) {
              const std::int64_t n = b.distinct[static_cast<std::size_t>(d)];
              backend.rms_norm(hidden.row_range(n * rows, rows), *layer.input_norm, epsilon, of(b.normed, d));
            }
          } else {
            backend.rms_norm(hidden, *layer.input_norm, epsilon, b.normed.rows(hidden.rows));
          }
          backend.linear(*layer.qkv, b.normed.rows(projected * rows), b.qkv.rows(projected * rows), false);
          const kernels::RotateQkvOptions options{shape, position, layer.q_norm.get(), layer.k_norm.get(), epsilon};
          std::vector<kernels::SequenceRotation> rotations;
          for (std::int64_t n = 0; n < b.count; ++n) {
            const std::int64_t from = index == 0 ? b.source[static_cast<std::size_t>(n)] : n;
            rotations.push_back(
                {of(b.qkv, from), b.of(n).rotation, of(b.q, n), b.kv[static_cast<std::size_t>(n)].get()});
          }
          backend.rotate_sequences(options, rotations);
          for (std::int64_t n = 0; read && n < b.count; ++n) {
            const kernels::KvBuffer& kv = *b.kv[static_cast<std::size_t>(n)];
            backend.attention(shape, of(b.q, n), kv, position, window, of(b.attended, n));
          }
          if (!read) return;
          backend.linear(*layer.output, b.attended.rows(hidden.rows), hidden, true);
          backend.rms_norm(hidden, *layer.post_attention_norm, epsilon, b.normed.rows(hidden.rows));
          backend.linear(*layer.gate_up, b.normed.rows(hidden.rows), b.gate_up.rows(hidden.rows), false);
          backend.gated_silu(b.gate_up.rows(hidden.rows), b.gated.rows(hidden.rows));
          backend.linear(*layer.down, b.gated.rows(hidden.rows), hidden, true);
        });
  }

  /// NLL of each sequence's scored targets, in token order.
  std::vector<std::vector<double>> score_hidden(Batch& b) const {
    std::vector<std::vector<double>> values(b.sequences.size());
    const std::int64_t first_row = (b.first_scored - 1) / b.block * (b.count * b.block);
    std::vector<std::int32_t> targets;
    std::vector<double> nll;
    b.hidden.for_each_chunk(
        first_row, b.count * b.tokens - first_row, HiddenState::Access::read,
        [&](std::int64_t begin, const Matrix& hidden) {
          const std::int64_t rows = hidden.rows / b.count;
          const std::int64_t position = begin / b.count;
          targets.clear();
          std::vector<std::size_t> ends;  // of each sequence's targets
          for (std::int64_t n = 0; n < b.count; ++n) {
            for_each_scored_run(b.of(n), position, rows, [&](std::int64_t first, std::int64_t count) {
              backend.rms_norm(hidden.row_range(n * rows + first, count), *weights.final_norm, config.rms_norm_epsilon,
                               b.normed.row_range(static_cast<std::int64_t>(targets.size()), count));
              const auto ids = b.of(n).ids.begin() + position + 1;
              targets.insert(targets.end(), ids + first, ids + first + count);
            });
            ends.push_back(targets.size());
          }
          if (targets.empty()) return;
          nll.resize(targets.size());
          backend.nll(*weights.lm_head, b.normed.rows(static_cast<std::int64_t>(targets.size())), targets, nll);
          std::size_t from = 0;
          for (std::size_t n = 0; n < ends.size(); ++n) {
            values[n].insert(values[n].end(), nll.begin() + static_cast<std::ptrdiff_t>(from),
                             nll.begin() + static_cast<std::ptrdiff_t>(ends[n]));
            from = ends[n];
          }
        });
    return values;
  }

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
const Decoder& Transformer::decoder() const { return *impl_; }
std::int64_t Transformer::parameters() const { return impl_->parameters; }
const std::string& Transformer::weights_sha256() const { return impl_->weights_sha256; }

std::unique_ptr<kernels::RotationTable> Transformer::rotation(const RopeTable& table,
                                                              kernels::RotationPrecision precision,
                                                              std::int64_t tokens) const {
  return impl_->backend.make_rotation_table(table.rotation(impl_->config.rope, precision), tokens);
}

NllSum sum_nll(std::span<const double> values) {
  NllSum sum;
  for (const double value : values) sum.nll_nats += value;
  if (!std::isfinite(sum.nll_nats)) sum.nll_nats = std::numeric_limits<double>::quiet_NaN();
  sum.tokens = std::ssize(values);
  return sum;
}

std::int64_t Transformer::sequences_at_once(std::int64_t tokens) const {
  const WindowLayout& layout = impl_->layout;
  if (layout.max_sequences <= 1) return 1;
  return std::max(layout.max_sequences, layout.chunk_tokens / std::max<std::int64_t>(1, tokens - 1));
}

std::vector<NllSum> Transformer::score(std::span<const Sequence> sequences) const {
  std::vector<NllSum> sums;
  for (const std::vector<double>& values : token_nll(sequences)) sums.push_back(sum_nll(values));
  return sums;
}

std::vector<std::vector<double>> Transformer::token_nll(std::span<const Sequence> sequences) const {
  if (sequences.empty()) return {};
  const auto tokens = static_cast<std::int64_t>(sequences.front().ids.size());
  const std::int64_t inputs = tokens - 1;  // the last token is a target only
  for (const Sequence& sequence : sequences) {
    if (static_cast<std::int64_t>(sequence.ids.size()) != tokens) {
      throw InputError(
          fmt::format("[score] sequences must be of equal length but got {} and {}", tokens, sequence.ids.size()));
    }
    if (tokens < 2 || sequence.first_scored < 1 || sequence.first_scored >= tokens) {
      throw InputError(
          fmt::format("[score] needs 1 <= first_scored < tokens but got {} and {}", sequence.first_scored, tokens));
    }
    const auto& targets = sequence.targets;
    if (!targets.empty() &&
        (targets.front() < 1 || targets.back() >= tokens ||
         std::adjacent_find(targets.begin(), targets.end(), std::greater_equal<>()) != targets.end())) {
      throw InputError(fmt::format("[score] targets must be ascending positions from 1 to {} but got {} from {} to {}",
                                   tokens - 1, targets.size(), targets.front(), targets.back()));
    }
    if (sequence.rotation->tokens() < inputs) {
      throw InputError(
          fmt::format("[score] the rotation table has {} positions but needs {}", sequence.rotation->tokens(), inputs));
    }
  }
  const Impl& m = *impl_;
  Batch batch(m.backend, m.config, m.shape, m.layout, sequences, inputs);
  m.embed(batch);
  for (std::int64_t layer = 0; layer < m.config.layers; ++layer) m.run_layer(layer, batch);
  return m.score_hidden(batch);
}

NllSum Transformer::score(std::span<const std::int32_t> ids, std::int64_t first_scored,
                          const kernels::RotationTable& rotation) const {
  const Sequence sequence{ids, first_scored, &rotation};
  return score({&sequence, 1}).front();
}

}  // namespace longrope::model
