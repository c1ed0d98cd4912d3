// Next-token losses of rows of hidden state under an output projection: one problem statement, two implementations.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/weights.hpp"

namespace longrope::kernels::cuda {

/// nll[r] = log sum_v exp(x[r] . weight[v]) - x[r] . weight[targets[r]], NaN if a product was not finite. Device
/// pointers, x and weight bf16 and 16-byte aligned. Shapes, row-major: x [rows, columns], weight [vocabulary, columns],
/// targets and nll [rows]. Products and their exponentials are float32, sums over tiles and logarithms double.
struct LossProblem {
  const void* x = nullptr;
  const void* weight = nullptr;
  const std::int32_t* targets = nullptr;  ///< in [0, vocabulary)
  double* nll = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;  ///< a multiple of 8
  std::int64_t vocabulary = 0;
};

/// Rows that go through at once: what scratch the implementations take is for so many.
inline constexpr std::int64_t kLossRows = 8192;

/// Whether an implementation can solve this problem on the current device. Never throws.
bool loss_hopper_supports(const LossProblem& problem);  ///< wgmma and TMA, sm_90a only
bool loss_tiles_supports(const LossProblem& problem);   ///< any device

/// Enqueues the problem on the calling thread's stream. Precondition: the matching _supports is true. Throws
/// RuntimeError. Deterministic: same bits run to run on one device, and those of a row do not depend on the other rows:
/// a tile's products are summed in their order over the columns wherever the row stands in it, and tiles in theirs; in
/// loss_tiles as far as Gemm's are.
void loss_hopper(const Context& context, const LossProblem& problem);  ///< logits stay in registers
void loss_tiles(const Context& context, const LossProblem& problem);   ///< a tile of logits at a time, through cuBLASLt

struct LossImplementation {
  const char* name;
  bool (*supports)(const LossProblem&);
  void (*run)(const Context&, const LossProblem&);
};

/// All implementations, the preferred one first; the last one supports every problem.
std::span<const LossImplementation> loss_implementations();

/// The first of them that supports the problem; its rows do not matter for that.
const LossImplementation& loss_for(const LossProblem& problem);

}  // namespace longrope::kernels::cuda
