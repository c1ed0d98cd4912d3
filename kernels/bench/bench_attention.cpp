// Every implementation of causal attention: one chunk against all keys so far, and whole windows.
#include <cmath>

#include "kernels/bench/bench.hpp"
#include "kernels/cuda/attention_select.hpp"

namespace longrope::kernels::bench {
namespace {

struct Case {
  std::int64_t head_dim, rows, keys;
};

/// FLOPs of the visible scores: 4 head_dim each (two products, a multiplication and an addition).
double flops(const Case& c, std::int64_t heads) {
  const auto rows = static_cast<double>(c.rows);
  const auto first = static_cast<double>(c.keys - c.rows);
  return 4.0 * static_cast<double>(c.head_dim * heads) * rows * (first + (rows + 1.0) / 2.0);
}

}  // namespace

void bench_attention(Table& table, const Anchors& anchors) {
  constexpr std::int64_t kHeads = 32;
  constexpr std::int64_t kKvHeads = 8;
  constexpr std::int64_t kKilo = 1024;
  const std::vector<Case> cases{
      {128, 8 * kKilo, 8 * kKilo},    {128, 8 * kKilo, 32 * kKilo},  {128, 8 * kKilo, 128 * kKilo},
      {128, 16 * kKilo, 128 * kKilo}, {128, 32 * kKilo, 32 * kKilo}, {128, 128 * kKilo, 128 * kKilo},
      {64, 8 * kKilo, 32 * kKilo},    {64, 32 * kKilo, 32 * kKilo},
  };
  const auto backend = make_cuda_backend(Precision::bf16);
  for (const Case& c : cases) {
    const std::string what = " head_dim " + std::to_string(c.head_dim) + ", " + std::to_string(c.rows / kKilo) +
                             "k rows, " + std::to_string(c.keys / kKilo) + "k keys";
    bool any = false;
    for (const auto& implementation : cuda::attention_implementations()) {
      any = any || table.wanted(std::string("attention ") + implementation.name + what);
    }
    if (!any) continue;
    const double deviation = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
    const Random q(*backend, c.rows, kHeads * c.head_dim, DType::bf16, deviation);
    const Random k(*backend, c.keys, kKvHeads * c.head_dim, DType::bf16);
    const Random v(*backend, c.keys, kKvHeads * c.head_dim, DType::bf16);
    const DeviceMemory out = backend->allocate(c.rows * kHeads * c.head_dim * bytes_of(DType::bf16));
    const cuda::AttentionProblem problem{q.matrix().data, k.matrix().data, v.matrix().data, out.get(),       kHeads,
                                         kKvHeads,        c.head_dim,      c.rows,          c.keys - c.rows, 0};
    for (const auto& implementation : cuda::attention_implementations()) {
      const std::string name = std::string("attention ") + implementation.name + what;
      if (!table.wanted(name)) continue;
      if (!implementation.supports(problem)) {
        table.skip(name, "not supported on this machine");
        continue;
      }
      if (implementation.kind == cuda::AttentionKind::plain && c.keys > 8 * kKilo) continue;  // minutes
      const double seconds = median_seconds([&] { implementation.run(problem, cuda::stream()); });
      table.add(name, seconds, flops(c, kHeads), "TFLOP/s", 1e12, anchors.gemm_flops, "gemm bf16 8192^3");
    }
  }
}

}  // namespace longrope::kernels::bench
