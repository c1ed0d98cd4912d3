#include "model/generator.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/error.hpp"
#include "model/decoder.hpp"

namespace longrope::model {
namespace {

using kernels::Backend;
using kernels::DType;
using kernels::Matrix;

}  // namespace

/// Shapes: [chunk, ...], reused. memory_plan.cpp counts the same buffers.
struct Generator::Impl {
  Impl(const Decoder& decoder, const kernels::RotationTable& table, std::int64_t capacity_tokens)
      : d(decoder),
        rotation(table),
        capacity(capacity_tokens),
        chunk(std::min(d.layout.chunk_tokens, capacity)),
        hidden(d.backend, DType::f32, chunk, d.config.hidden_size),
        normed(d.backend, d.backend.activation_dtype(), chunk, d.config.hidden_size),
        qkv(d.backend, d.backend.projection_dtype(), chunk, d.shape.qkv_cols()),
        q(d.backend, d.backend.projection_dtype(), chunk, d.config.heads * d.config.head_dim),
        attended(d.backend, d.backend.activation_dtype(), chunk, d.config.heads * d.config.head_dim),
        gate_up(d.backend, d.backend.projection_dtype(), chunk, 2 * d.config.intermediate_size),
        gated(d.backend, d.backend.activation_dtype(), chunk, d.config.intermediate_size) {
    for (std::int64_t layer = 0; layer < d.config.layers; ++layer) {
      kv.push_back(d.backend.make_kv_buffer(d.shape, capacity));
    }
  }

  /// Rows of one chunk, which follow those held: embedding to last residual. Of rows before `first_read` the last
  /// layer's K and V are read, and nothing more; returns whether there are others.
  bool run_chunk(std::span<const std::int32_t> ids, std::int64_t first_read) {
    const auto position = static_cast<std::int64_t>(held.size());
    const auto rows = static_cast<std::int64_t>(ids.size());
    const Backend& backend = d.backend;
    const float epsilon = d.config.rms_norm_epsilon;
    const Matrix h = hidden.rows(rows);
    backend.embed(*d.weights.embedding, ids, h);
    for (std::int64_t index = 0; index < d.config.layers; ++index) {
      const LayerWeights& layer = d.weights.layers[static_cast<std::size_t>(index)];
      kernels::KvBuffer& cache = *kv[static_cast<std::size_t>(index)];
      backend.rms_norm(h, *layer.input_norm, epsilon, normed.rows(rows));
      backend.linear(*layer.qkv, normed.rows(rows), qkv.rows(rows), false);
      backend.rotate_qkv({d.shape, position, layer.q_norm.get(), layer.k_norm.get(), epsilon}, qkv.rows(rows), rotation,
                         q.rows(rows), cache);
      if (index + 1 == d.config.layers && position + rows <= first_read) return false;
      backend.attention(d.shape, q.rows(rows), cache, position,
                        d.config.sliding_window[static_cast<std::size_t>(index)], attended.rows(rows));
      backend.linear(*layer.output, attended.rows(rows), h, true);
      backend.rms_norm(h, *layer.post_attention_norm, epsilon, normed.rows(rows));
      backend.linear(*layer.gate_up, normed.rows(rows), gate_up.rows(rows), false);
      backend.gated_silu(gate_up.rows(rows), gated.rows(rows));
      backend.linear(*layer.down, gated.rows(rows), h, true);
    }
    return true;
  }

  /// How many rows of what is held a sequence can keep, if its rows first_read .. must be computed in any case.
  std::int64_t reusable(std::span<const std::int32_t> ids, std::int64_t first_read) const {
    const auto shared = std::mismatch(ids.begin(), ids.end(), held.begin(), held.end()).first - ids.begin();
    const std::int64_t keep = std::min<std::int64_t>(shared, first_read);
    return d.backend.rows_independent() ? keep : std::min(keep, in_chunks) / chunk * chunk;
  }

  /// Cuts what is held back to `keep` rows of ids and puts the other rows of ids through the layers. visit(first, x)
  /// gets the normed rows from first_read on, in order.
  void run(std::span<const std::int32_t> ids, std::int64_t keep, std::int64_t first_read,
           const std::function<void(std::int64_t first, Matrix x)>& visit) {
    held.resize(static_cast<std::size_t>(keep));
    in_chunks = std::min(in_chunks, keep);
    const auto end = static_cast<std::int64_t>(ids.size());
    for (std::int64_t begin = keep; begin < end;) {
      const std::int64_t rows = std::min(chunk, end - begin);
      const auto part = ids.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(rows));
      const bool read = run_chunk(part, first_read);
      computed += rows;
      if (in_chunks == begin && rows == chunk) in_chunks += rows;
      held.insert(held.end(), part.begin(), part.end());
      if (read) {
        const std::int64_t skip = std::max<std::int64_t>(0, first_read - begin);
        const Matrix x = normed.rows(rows - skip);
        d.backend.rms_norm(hidden.row_range(skip, rows - skip), *d.weights.final_norm, d.config.rms_norm_epsilon, x);
        visit(begin + skip, x);
      }
      begin += rows;
    }
  }

  /// The id that follows `ids`, of whose rows `keep` are held; -1 where a logit is not finite.
  std::int32_t next(std::span<const std::int32_t> ids, std::int64_t keep) {
    std::int32_t id = -1;
    run(ids, keep, static_cast<std::int64_t>(ids.size()) - 1, [&](std::int64_t, Matrix x) {
      d.backend.argmax(*d.weights.lm_head, x, {&id, 1});
    });
    return id;
  }

  const Decoder& d;
  const kernels::RotationTable& rotation;
  std::int64_t capacity;
  std::int64_t chunk;
  Buffer hidden, normed, qkv, q, attended, gate_up, gated;
  std::vector<std::unique_ptr<kernels::KvBuffer>> kv;  ///< [layers]
  std::vector<std::int32_t> held;                      ///< the ids whose K and V the buffers have, from position 0
  std::int64_t in_chunks = 0;                          ///< of them: leading ones that were computed in whole chunks
  std::int64_t computed = 0;
  bool finite = true;
};

Generator::Generator(const Transformer& transformer, const kernels::RotationTable& rotation,
                     std::int64_t capacity_tokens) {
  if (capacity_tokens < 1) {
    throw InputError(fmt::format("[generator] the capacity must be at least 1 token but got {}", capacity_tokens));
  }
  if (rotation.tokens() < capacity_tokens) {
    throw InputError(fmt::format("[generator] the rotation table must cover the capacity of {} tokens but has {}",
                                 capacity_tokens, rotation.tokens()));
  }
  impl_ = std::make_unique<Impl>(transformer.decoder(), rotation, capacity_tokens);
}
Generator::~Generator() = default;
Generator::Generator(Generator&&) noexcept = default;

NllSum Generator::score(std::span<const std::int32_t> ids, std::int64_t first_scored) {
  Impl& m = *impl_;
  const auto tokens = static_cast<std::int64_t>(ids.size());
  if (tokens < 2 || first_scored < 1 || first_scored >= tokens) {
    throw InputError(
        fmt::format("[generator] needs 1 <= first_scored < tokens but got {} and {}", first_scored, tokens));
  }
  if (tokens > m.capacity) {
    throw InputError(
        fmt::format("[generator] a sequence must fit the capacity of {} tokens but has {}", m.capacity, tokens));
  }
  NllSum sum;
  std::vector<double> nll;
  const auto inputs = ids.first(ids.size() - 1);
  m.run(inputs, m.reusable(inputs, first_scored - 1), first_scored - 1, [&](std::int64_t first, Matrix x) {
    nll.resize(static_cast<std::size_t>(x.rows));
    m.d.backend.nll(*m.d.weights.lm_head, x, ids.subspan(static_cast<std::size_t>(first) + 1, nll.size()), nll);
    for (const double value : nll) sum.nll_nats += value;
    sum.tokens += x.rows;
  });
  m.finite = std::isfinite(sum.nll_nats);
  if (!m.finite) sum.nll_nats = std::numeric_limits<double>::quiet_NaN();
  return sum;
}

std::vector<std::int32_t> Generator::generate(std::span<const std::int32_t> prompt, std::int64_t max_new,
                                              std::span<const std::int32_t> stop) {
  Impl& m = *impl_;
  const auto tokens = static_cast<std::int64_t>(prompt.size());
  if (tokens < 1) throw InputError("[generator] a prompt must have at least 1 token but is empty");
  if (max_new < 0 || max_new > m.capacity - tokens) {
    throw InputError(
        fmt::format("[generator] a prompt and what follows must fit the capacity of {} tokens but they "
                    "have {} and {}",
                    m.capacity, tokens, max_new));
  }
  std::vector<std::int32_t> sequence(prompt.begin(), prompt.end());
  m.finite = true;
  for (std::int64_t i = 0; i < max_new; ++i) {
    // What this call has computed is kept as it is: the row of the token before is the only one that is new.
    const auto held = static_cast<std::int64_t>(m.held.size());
    const std::int32_t id = m.next(sequence, i == 0 ? m.reusable(sequence, tokens - 1) : held);
    m.finite = id >= 0;
    if (id < 0 || std::find(stop.begin(), stop.end(), id) != stop.end()) break;
    sequence.push_back(id);
  }
  return {sequence.begin() + tokens, sequence.end()};
}

bool Generator::finite() const { return impl_->finite; }
std::int64_t Generator::computed_tokens() const { return impl_->computed; }
std::int64_t Generator::capacity_tokens() const { return impl_->capacity; }

}  // namespace longrope::model
