// What the bench measures: each prints its lines and their share of the peak.
#pragma once

#include <cstdint>

#include "fma_peak.hpp"
#include "kernels/backend.hpp"
#include "search/cli/session.hpp"

namespace longrope::bench {

struct Peaks {
  Peak f32;
  Peak bf16;
  double of(kernels::Precision precision) const {
    return precision == kernels::Precision::bf16 ? bf16.flops_per_s : f32.flops_per_s;
  }
};

/// Matrix products of a forward pass, one thread.
void run_products(const Peaks& peaks);
/// Causal attention, one thread.
void run_attention(const Peaks& peaks, std::int64_t tokens);
/// The session's windows under one table, and under `tables` tables at once, on one thread and on all; `length`:
/// tokens.
void run_evaluation(const Peaks& peaks, const cli::Session& session, std::int64_t length, std::int64_t tables);
/// Tokens a second of greedy decoding behind a prefill of `length` tokens of the first document.
void run_decode(const cli::Session& session, std::int64_t length);
/// Of this process now.
double resident_bytes();
/// What the process took at most beside what it had before the session was made, against what the plan counts for one
/// window of `length` tokens on one thread.
void run_memory(const cli::Session& session, std::int64_t length, double before_bytes);

}  // namespace longrope::bench
