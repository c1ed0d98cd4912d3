// Every implementation of causal attention that supports a problem, and the one the backend would choose.
#include <algorithm>

#include "kernels/backend.hpp"
#include "kernels/check/attention_case.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"
#include "kernels/cuda/attention_cudnn.hpp"
#include "kernels/cuda/attention_select.hpp"
#include "kernels/cuda/device.hpp"

namespace longrope::kernels::check {
namespace {

using cuda::AttentionImplementation;
using cuda::AttentionProblem;
using Case = AttentionCase;
using Inputs = AttentionInputs;

/// P and O are rounded to bf16: 2^-9 each, averaged over the keys.
constexpr double kTolerance = 5e-3;

void check_case(const AttentionImplementation& implementation, const Case& c, Result& result) {
  const Inputs in(c);
  const DeviceData out(c.rows, c.heads * c.head_dim, DType::bf16);
  AttentionProblem problem = problem_of(c);
  problem.q = in.device_q.data();
  problem.k = in.device_k.data();
  problem.v = in.device_v.data();
  problem.out = out.data();
  if (!implementation.supports(problem)) return;
  implementation.run(problem, cuda::stream());
  cuda::check(cudaStreamSynchronize(cuda::stream()), "check");
  const Doubles values = out.values();
  Doubles sampled;
  const std::int64_t cols = c.heads * c.head_dim;
  for (const std::int64_t r : sampled_rows(c.rows)) {
    sampled.insert(sampled.end(), values.begin() + r * cols, values.begin() + (r + 1) * cols);
  }
  result.compare(sampled, in.expected(c), kTolerance, label(c));
  bool finite = true;
  for (const double value : values) finite = finite && std::isfinite(value);
  result.expect(finite, "every row is written, " + label(c));
  result.expect(out.guards_intact(), "neighbours, " + label(c));

  const auto bits = out.bits();
  cuda::check(cudaMemset(out.data(), 0xFF, bits.size()), "check");
  implementation.run(problem, cuda::stream());
  cuda::check(cudaStreamSynchronize(cuda::stream()), "check");
  result.expect(out.bits() == bits, "the same bits again, " + label(c));
}

/// Runs the cases as a group, or says that none of them is supported here, and where the implementation tells, why.
void group(Harness& harness, const AttentionImplementation& implementation, const char* what,
           const std::vector<Case>& cases) {
  const std::string name = std::string("attention ") + implementation.name + ", " + what;
  if (!harness.wanted(name)) return;
  if (std::none_of(cases.begin(), cases.end(), [&](const Case& c) { return implementation.supports(problem_of(c)); })) {
    harness.skip(name, implementation.kind == cuda::AttentionKind::cudnn
                           ? cuda::attention_cudnn_refusal(problem_of(cases.front()))
                           : "not supported on this machine");
    return;
  }
  harness.group(name, [&](Result& result) {
    for (const Case& c : cases) check_case(implementation, c, result);
  });
}

void check_backend(const Backend& backend, Result& result) {
  const AttentionShape shape{4, 2, 64, 64};
  const auto kv = backend.make_kv_buffer(shape, 64);
  RotationSpec spec;
  spec.inv_freq.assign(32, 0.0);  // no rotation: K is what the projection held
  const auto table = backend.make_rotation_table(spec, 64);
  const auto qkv = random_values(64 * shape.qkv_cols());
  const DeviceData input(64, shape.qkv_cols(), DType::bf16, qkv);
  const DeviceData q(64, 256, DType::bf16);
  const DeviceData out(64, 256, DType::bf16);
  RotateQkvOptions options;
  options.shape = shape;
  Doubles expected;
  Doubles head(64);
  const Doubles all = doubles(qkv);
  for (std::int64_t begin = 0; begin < 64; begin += 32) {  // two chunks
    options.first_position = begin;
    const Matrix chunk_q = q.matrix().row_range(begin, 32);
    backend.rotate_qkv(options, input.matrix().row_range(begin, 32), *table, chunk_q, *kv);
    backend.attention(shape, chunk_q, *kv, begin, 0, out.matrix().row_range(begin, 32));
  }
  backend.finish();
  for (std::int64_t r = 0; r < 64; ++r) {
    for (std::int64_t h = 0; h < 4; ++h) {
      Doubles query(&all[at(r, 512, h * 64)], &all[at(r, 512, h * 64)] + 64);
      for (double& value : query) value /= 8.0;
      attend(query.data(), &all[static_cast<std::size_t>(256 + h / 2 * 64)],
             &all[static_cast<std::size_t>(384 + h / 2 * 64)], 512, 64, r, 0, head.data());
      expected.insert(expected.end(), head.begin(), head.end());
    }
  }
  result.compare(out.values(), expected, kTolerance, "backend");
}

}  // namespace

void check_attention(Harness& harness) {
  const auto backend = make_cuda_backend(Precision::bf16);
  for (const AttentionImplementation& implementation : cuda::attention_implementations()) {
    std::vector<Case> cases;
    for (const std::int64_t head_dim : {64, 80, 96, 128, 256}) {
      for (const std::int64_t rows : {1, 31, 33, 257}) cases.push_back({4, 2, head_dim, rows, 0, 0});
    }
    group(harness, implementation, "head_dim and rows", cases);
    cases.clear();
    for (const std::int64_t head_dim : {64, 128}) {
      for (const std::int64_t rows : {1, 31, 257}) {
        for (const std::int64_t first : {1, 63, 128, 1000}) cases.push_back({2, 1, head_dim, rows, first, 0});
      }
    }
    group(harness, implementation, "chunks", cases);
    group(harness, implementation, "grouped heads",
          {{2, 2, 128, 130, 70, 0},
           {8, 2, 128, 130, 70, 0},
           {8, 1, 128, 130, 70, 0},
           {9, 3, 64, 130, 70, 0},
           {14, 2, 64, 130, 70, 0},
           {5, 1, 96, 130, 70, 0}});
    cases.clear();
    for (const std::int64_t head_dim : {64, 96, 128}) {
      for (const std::int64_t window : {1, 31, 64, 100, 128, 5000}) {
        cases.push_back({2, 1, head_dim, 257, 0, window});
        cases.push_back({2, 1, head_dim, 130, 700, window});
        cases.push_back({2, 1, head_dim, 1, 700, window});
      }
    }
    group(harness, implementation, "sliding window", cases);
    group(harness, implementation, "long",
          {{2, 1, 128, 2048, 6000, 0}, {2, 1, 64, 1500, 3001, 0}, {2, 2, 128, 4096, 0, 0}});
    group(harness, implementation, "peaked scores", {{4, 2, 128, 257, 500, 0, 12.0}, {4, 2, 64, 257, 500, 0, 12.0}});
  }
  harness.group("attention through the backend, two chunks", [&](Result& r) { check_backend(*backend, r); });
}

}  // namespace longrope::kernels::check
