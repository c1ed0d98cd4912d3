// Greedy decoding: one sequence under one table with K and V of all layers held, so that it can be continued token by
// token and cut back. Sequences that share a prefix with the one before compute it once: callers order them
// lexicographically by ids, and each edge of their trie goes through the layers once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.hpp"
#include "model/transformer.hpp"

namespace longrope::model {

/// Used by one thread at a time; several generators may run at once on one Transformer. On the CPU results have the
/// bits of Transformer::score and do not depend on what was computed before. On a GPU rows are kept in whole chunks
/// only, so that a prefill's bits do not depend on it either.
class Generator {
 public:
  /// capacity_tokens: longest sequence, generated tokens included; `rotation` covers as many positions. Both must
  /// outlive it. Throws InputError unless it does and capacity_tokens >= 1; RuntimeError: out of memory.
  Generator(const Transformer& transformer, const kernels::RotationTable& rotation, std::int64_t capacity_tokens);
  ~Generator();
  Generator(Generator&&) noexcept;

  /// NLL of ids[first_scored..], each given all before it. Rows of the longest common prefix with the sequence that is
  /// held are not computed again, but those whose logits are needed are. Throws InputError for what Sequence rules out
  /// and for more than capacity_tokens tokens.
  NllSum score(std::span<const std::int32_t> ids, std::int64_t first_scored);

  /// Greedy continuation: up to max_new tokens, ending before any of `stop`, or where a logit is not finite (see
  /// finite). The lowest id wins a tie. prompt.size() >= 1. Throws InputError for an empty prompt, and for more than
  /// capacity_tokens tokens in all.
  std::vector<std::int32_t> generate(std::span<const std::int32_t> prompt, std::int64_t max_new,
                                     std::span<const std::int32_t> stop);

  /// Whether every logit that the last call read was finite: if not, score was NaN, or generate ended early.
  bool finite() const;
  /// Rows that went through the layers so far (what reuse saves).
  std::int64_t computed_tokens() const;
  std::int64_t capacity_tokens() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace longrope::model
