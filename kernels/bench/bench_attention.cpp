// Every implementation of causal attention: one chunk against all keys so far, and whole windows; of a window of a
// million keys the last chunk.
#include <algorithm>
#include <cmath>

#include "kernels/bench/bench.hpp"
#include "kernels/cuda/attention_cudnn.hpp"
#include "kernels/cuda/attention_fp8.hpp"
#include "kernels/cuda/attention_select.hpp"

namespace longrope::kernels::bench {
namespace {

constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kKvHeads = 8;
constexpr std::int64_t kKilo = 1024;
constexpr std::int64_t kMega = kKilo * kKilo;

struct Case {
  std::int64_t head_dim, rows, keys;
};

/// FLOPs of the visible scores: 4 head_dim each (two products, a multiplication and an addition).
double flops(const Case& c) {
  const auto rows = static_cast<double>(c.rows);
  const auto first = static_cast<double>(c.keys - c.rows);
  return 4.0 * static_cast<double>(c.head_dim * kHeads) * rows * (first + (rows + 1.0) / 2.0);
}

cuda::AttentionProblem shape_of(const Case& c) {
  cuda::AttentionProblem shape;
  shape.heads = kHeads;
  shape.kv_heads = kKvHeads;
  shape.head_dim = c.head_dim;
  shape.rows = c.rows;
  shape.first_position = c.keys - c.rows;
  return shape;
}

/// FP8 attention with its quantisation, which is never chosen: beside the others where it has the head_dim.
void bench_fp8(Table& table, const Anchors& anchors, const Backend& backend, const std::string& name, const Case& c,
               const cuda::AttentionProblem& problem) {
  table.attempt(name, [&] {
    if (!cuda::attention_fp8_supports(problem)) {
      table.skip(name, "not supported on this machine");
      return;
    }
    const DeviceMemory workspace = backend.allocate(cuda::attention_fp8_workspace_bytes(problem));
    const double seconds = median_seconds([&] { cuda::attention_fp8(problem, workspace.get(), cuda::stream()); });
    table.add(name, seconds, flops(c), "TFLOP/s", 1e12, anchors.gemm_flops, "gemm bf16 8192^3");
  });
}

/// Whether an implementation is worth its time here: plain takes minutes with many keys, and with a million only the
/// one that the backend would choose is of interest.
bool worthwhile(const cuda::AttentionImplementation& implementation, const Case& c) {
  if (implementation.kind == cuda::AttentionKind::plain && c.keys > 8 * kKilo) return false;
  return c.keys < kMega || &implementation == &cuda::choose_attention(cuda::attention_implementations(), shape_of(c));
}

}  // namespace

void bench_attention(Table& table, const Anchors& anchors) {
  const std::vector<Case> cases{
      {128, 8 * kKilo, 8 * kKilo},   {128, 32 * kKilo, 32 * kKilo}, {128, 128 * kKilo, 128 * kKilo},
      {128, 8 * kKilo, 128 * kKilo}, {128, 16 * kKilo, 64 * kKilo}, {128, 16 * kKilo, 128 * kKilo},
      {128, 8 * kKilo, kMega},       {64, 8 * kKilo, 8 * kKilo},    {64, 32 * kKilo, 32 * kKilo},
      {64, 8 * kKilo, 128 * kKilo},  {256, 8 * kKilo, 8 * kKilo},   {256, 32 * kKilo, 32 * kKilo},
      {256, 8 * kKilo, 128 * kKilo}, {256, 16 * kKilo, 16 * kKilo}, {192, 16 * kKilo, 16 * kKilo},
      {96, 16 * kKilo, 16 * kKilo},  {80, 16 * kKilo, 16 * kKilo},
  };
  const auto backend = make_cuda_backend(Precision::bf16);
  for (const Case& c : cases) {
    const std::string what = " head_dim " + std::to_string(c.head_dim) + ", " + std::to_string(c.rows / kKilo) +
                             "k rows, " + std::to_string(c.keys / kKilo) + "k keys";
    const auto name = [&](const cuda::AttentionImplementation& implementation) {
      return std::string("attention ") + implementation.name + what;
    };
    const auto asked = [&](const cuda::AttentionImplementation& implementation) {
      return table.wanted(name(implementation)) && worthwhile(implementation, c);
    };
    const std::string fp8_name = "attention fp8" + what;
    const bool fp8_asked = table.wanted(fp8_name) && cuda::fp8::has_head_dim(c.head_dim);
    if (!fp8_asked && std::ranges::none_of(cuda::attention_implementations(), asked)) continue;
    const double deviation = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
    const Random q(*backend, c.rows, kHeads * c.head_dim, DType::bf16, deviation);
    const Random k(*backend, c.keys, kKvHeads * c.head_dim, DType::bf16);
    const Random v(*backend, c.keys, kKvHeads * c.head_dim, DType::bf16);
    const DeviceMemory out = backend->allocate(c.rows * kHeads * c.head_dim * bytes_of(DType::bf16));
    cuda::AttentionProblem problem = shape_of(c);
    problem.q = q.matrix().data;
    problem.k = k.matrix().data;
    problem.v = v.matrix().data;
    problem.out = out.get();
    if (fp8_asked) bench_fp8(table, anchors, *backend, fp8_name, c, problem);
    for (const auto& implementation : cuda::attention_implementations()) {
      if (!asked(implementation)) continue;
      table.attempt(name(implementation), [&] {
        if (!implementation.supports(problem)) {
          table.skip(name(implementation), implementation.kind == cuda::AttentionKind::cudnn
                                               ? cuda::attention_cudnn_refusal(problem)
                                               : "not supported on this machine");
          return;
        }
        const double seconds = median_seconds([&] { implementation.run(problem, cuda::stream()); });
        table.add(name(implementation), seconds, flops(c), "TFLOP/s", 1e12, anchors.gemm_flops, "gemm bf16 8192^3");
      });
    }
  }
}

}  // namespace longrope::kernels::bench
