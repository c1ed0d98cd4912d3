// A Hugging Face decoder on a backend: token windows in, negative log-likelihoods out, under a RopeTable.
// Layer-major: the whole window goes through layer l in chunks before layer l+1 starts, so only the hidden state and
// one layer's K and V are held, never logits (DESIGN section 5).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.hpp"
#include "model/memory_plan.hpp"
#include "model/model_config.hpp"
#include "model/rope_table.hpp"
#include "model/safetensors.hpp"

namespace longrope::model {

struct Decoder;

/// Sum of NLL over scored targets.
struct NllSum {
  double nll_nats = 0.0;  ///< NaN if any scored target's logits are not finite
  std::int64_t tokens = 0;
};

/// In their order, in double.
NllSum sum_nll(std::span<const double> values);

/// One window under one table. Refers to what its maker keeps.
struct Sequence {
  std::span<const std::int32_t> ids;                 ///< [tokens], tokens >= 2, each in the vocabulary
  std::int64_t first_scored = 1;                     ///< of the targets ids[first_scored..]; 1 <= first_scored < tokens
  const kernels::RotationTable* rotation = nullptr;  ///< covers tokens - 1 positions
  /// Positions of the scored targets, if not all from first_scored on: ascending, each in [1, tokens); empty: all.
  std::span<const std::int64_t> targets = {};
};

class Transformer {
 public:
  /// Packs a checkpoint's weights for `backend`, which must outlive this; the files need not. layout: of every window
  /// (plan_memory chooses one that fits). Throws InputError (see TensorFiles::require), RuntimeError (out of memory).
  Transformer(const ModelConfig& config, const TensorFiles& files, const kernels::Backend& backend,
              const WindowLayout& layout);
  /// Reads the directory itself; the backend's preferred chunk, the hidden state on the device.
  Transformer(const std::filesystem::path& directory, const kernels::Backend& backend);
  ~Transformer();
  Transformer(Transformer&&) noexcept;

  const ModelConfig& config() const;
  std::int64_t parameters() const;            ///< elements of the checkpoint's tensors
  const std::string& weights_sha256() const;  ///< TensorFiles::sample_sha256
  const Decoder& decoder() const;             ///< what a Generator computes with

  /// cos and sin of a table for windows of up to `tokens` tokens, to be shared by all windows of a candidate.
  std::unique_ptr<kernels::RotationTable> rotation(const RopeTable& table, kernels::RotationPrecision precision,
                                                   std::int64_t tokens) const;

  /// How many sequences of this length the layout has room for in one call of score; 1 on a backend where a row's bits
  /// depend on those that go with it (Backend::rows_joinable).
  std::int64_t sequences_at_once(std::int64_t tokens) const;

  /// NLL of each sequence's targets, each given all tokens before it. Sequences of equal length; their rows go through
  /// the same products, and those whose ids are the same memory share what comes before the first rotation (embedding,
  /// norm and QKV of layer 0). A sequence's bits do not depend on the others, nor on how many there are. Thread-safe.
  /// Throws InputError for lengths that differ and for what Sequence rules out, ids apart.
  std::vector<NllSum> score(std::span<const Sequence> sequences) const;
  /// The same target by target: [sequences][scored targets], nats; not finite where the logits are not.
  std::vector<std::vector<double>> token_nll(std::span<const Sequence> sequences) const;
  /// One sequence.
  NllSum score(std::span<const std::int32_t> ids, std::int64_t first_scored,
               const kernels::RotationTable& rotation) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace longrope::model
