// FP8 attention: what it quantises, its kernel over that, and the whole against exact attention.
#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>

#include "kernels/backend.hpp"
#include "kernels/check/attention_case.hpp"
#include "kernels/check/attention_fp8_reference.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"
#include "kernels/cuda/attention_fp8.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/error.hpp"

namespace longrope::kernels::check {
namespace {

using Case = AttentionCase;

/// Over what was quantised: weights are rounded to e4m3, 2^-4 at most and 0.026 on average (rms), sums have 14 bits.
constexpr double kKernelTolerance = 0.03;
/// Against exact attention: Q and K move scores of deviation 1.5 by 0.055 (rms), V and the weights add 0.026 each:
/// 0.066 of the output in all, where V is noise.
constexpr double kTolerance = 0.12;
/// Of scores as peaked as those it says nothing: a few weights decide, and e4m3 moves them by half.
constexpr double kMostDeviation = 2.0;

std::int64_t seen_keys(const Case& c) { return cuda::fp8::visible_keys(c.first_position, c.rows, c.sliding_window); }

/// The rows of `values` that were sampled.
Doubles sampled(const Doubles& values, const Case& c) {
  Doubles rows;
  const std::int64_t cols = c.heads * c.head_dim;
  for (const std::int64_t r : sampled_rows(c.rows)) {
    rows.insert(rows.end(), values.begin() + r * cols, values.begin() + (r + 1) * cols);
  }
  return rows;
}

/// Attention in double over what the workspace holds.
Doubles expected_of(const Fp8Inputs& in, const Case& c, std::int64_t keys) {
  Doubles all;
  Doubles out(static_cast<std::size_t>(c.head_dim));
  for (const std::int64_t r : sampled_rows(c.rows)) {
    for (std::int64_t h = 0; h < c.heads; ++h) {
      const auto column = static_cast<std::size_t>(h / (c.heads / c.kv_heads) * c.head_dim);
      attend(&in.q[at(r, c.heads * c.head_dim, h * c.head_dim)], &in.k[column], &in.v[column], c.kv_heads * c.head_dim,
             c.head_dim, keys - c.rows + r, c.sliding_window, out.data());
      all.insert(all.end(), out.begin(), out.end());
    }
  }
  return all;
}

/// Whether Q, K and V were rounded as e4m3 rounds, and K centred.
void check_quantised(const Fp8Inputs& quantised, const AttentionInputs& in, const Case& c, std::int64_t keys,
                     Result& result) {
  constexpr double kSlack = 1.001;  // scales and means are float32
  const auto columns = static_cast<std::size_t>(c.kv_heads * c.head_dim);
  const auto head_dim = static_cast<std::size_t>(c.head_dim);
  const std::size_t unseen = static_cast<std::size_t>(in.keys - keys) * columns;
  Doubles mean(columns, 0.0);
  for (std::size_t i = 0; i < quantised.k.size(); ++i) {
    mean[i % columns] += static_cast<double>(in.k[unseen + i]) / static_cast<double>(keys);
  }
  result.compare_absolute(quantised.mean, mean, 1e-5 * (1.0 + c.key_offset), "mean of K, " + label(c));
  double worst = 0.0;
  for (std::size_t i = 0; i < quantised.q.size(); ++i) {
    worst =
        std::max(worst, worst_rounding(static_cast<double>(in.q[i]), quantised.q[i], quantised.q_scales[i / head_dim]));
  }
  for (std::size_t i = 0; i < quantised.k.size(); ++i) {
    const std::size_t head = i % columns / head_dim;
    const double centred = static_cast<double>(in.k[unseen + i]) - quantised.mean[i % columns];
    worst = std::max(worst, worst_rounding(centred, quantised.k[i], quantised.k_scales[head]));
    worst = std::max(worst,
                     worst_rounding(static_cast<double>(in.v[unseen + i]), quantised.v[i], quantised.v_scales[head]));
  }
  result.expect(worst < kSlack, "rounding " + std::to_string(worst) + " of what e4m3 allows, " + label(c));
  result.expect(quantised.padding_is_zero, "V beyond the last key, " + label(c));
}

void check_case(const Case& c, Result& result) {
  const AttentionInputs in(c);
  const DeviceData out(c.rows, c.heads * c.head_dim, DType::bf16);
  cuda::AttentionProblem problem = problem_of(c);
  problem.q = in.device_q.data();
  problem.k = in.device_k.data();
  problem.v = in.device_v.data();
  problem.out = out.data();
  const std::int64_t bytes = cuda::attention_fp8_workspace_bytes(problem);
  const DeviceData workspace(bytes / 4, 1, DType::f32);
  const auto run = [&] {
    cuda::attention_fp8(problem, workspace.data(), cuda::stream());
    cuda::check(cudaStreamSynchronize(cuda::stream()), "check");
  };
  run();
  const std::int64_t keys = seen_keys(c);
  const Fp8Inputs quantised(workspace.bits(), {c.heads, c.kv_heads, c.head_dim, c.rows, keys});
  check_quantised(quantised, in, c, keys, result);
  const Doubles values = out.values();
  result.compare(sampled(values, c), expected_of(quantised, c, keys), kKernelTolerance, "kernel, " + label(c));
  if (c.score_deviation <= kMostDeviation) result.compare(sampled(values, c), in.expected(c), kTolerance, label(c));
  result.expect(std::ranges::all_of(values, [](double value) { return std::isfinite(value); }),
                "every row is written, " + label(c));
  result.expect(out.guards_intact() && workspace.guards_intact(), "neighbours, " + label(c));

  const auto bits = out.bits();
  cuda::check(cudaMemset(out.data(), 0xFF, bits.size()), "check");
  cuda::check(cudaMemset(workspace.data(), 0xFF, static_cast<std::size_t>(bytes)), "check");
  run();
  result.expect(out.bits() == bits, "the same bits again, " + label(c));
}

/// A backend asked for it takes it, where a chunk has rows enough; without, or for fewer rows, attention is bf16's.
void check_backend(const Backend& asked, Result& result) {
  const AttentionShape shape{4, 2, 64, 64};
  constexpr std::int64_t kRows = cuda::kFewestFp8Rows;
  constexpr std::int64_t kColumns = 4 * 64;
  const auto bf16 = make_cuda_backend(Precision::bf16);
  const auto kv = asked.make_kv_buffer(shape, kRows);
  RotationSpec spec;
  spec.inv_freq.assign(32, 0.0);
  const auto table = asked.make_rotation_table(spec, kRows);
  const DeviceData qkv(kRows, shape.qkv_cols(), DType::bf16, random_values(kRows * shape.qkv_cols()));
  const DeviceData q(kRows, kColumns, DType::bf16);
  RotateQkvOptions options;
  options.shape = shape;
  asked.rotate_qkv(options, qkv.matrix(), *table, q.matrix(), *kv);
  const auto attend_with = [&](const Backend& backend, std::int64_t rows) {
    const DeviceData out(rows, kColumns, DType::bf16);
    backend.attention(shape, q.matrix().row_range(kRows - rows, rows), *kv, kRows - rows, 0, out.matrix());
    backend.finish();
    return out.values();
  };
  const Doubles quantised = attend_with(asked, kRows);
  const Doubles exact = attend_with(*bf16, kRows);
  result.compare(quantised, exact, kTolerance, "enough rows");
  result.expect(quantised != exact, "enough rows: e4m3 shows");
  result.expect(attend_with(asked, kRows - 1) == attend_with(*bf16, kRows - 1), "fewer rows: as bf16");
  const AttentionShape wide{2, 1, 256, 256};
  const auto wide_kv = asked.make_kv_buffer(wide, kRows);
  const DeviceData wide_q(kRows, 512, DType::bf16);
  result.expect_throw<InputError>([&] { asked.attention(wide, wide_q.matrix(), *wide_kv, 0, 0, wide_q.matrix()); },
                                  "head_dim", "a head_dim that it is not made for");
}

void group(Harness& harness, const char* what, const std::vector<Case>& cases) {
  const std::string name = std::string("attention fp8, ") + what;
  if (!harness.wanted(name)) return;
  if (!cuda::attention_fp8_supports(problem_of(cases.front()))) {
    harness.skip(name, "needs compute capability 9.0");
    return;
  }
  harness.group(name, [&](Result& result) {
    for (const Case& c : cases) check_case(c, result);
  });
}

}  // namespace

void check_attention_fp8(Harness& harness) {
  std::vector<Case> cases;
  for (const std::int64_t head_dim : {64, 96, 128}) {
    for (const std::int64_t rows : {1, 31, 33, 257}) cases.push_back({4, 2, head_dim, rows, 0, 0});
  }
  group(harness, "head_dim and rows", cases);
  cases.clear();
  for (const std::int64_t head_dim : {64, 128}) {
    for (const std::int64_t first : {1, 63, 128, 1000}) cases.push_back({2, 1, head_dim, 257, first, 0});
  }
  group(harness, "chunks", cases);
  group(harness, "grouped heads", {{2, 2, 128, 130, 70, 0}, {9, 3, 64, 130, 70, 0}, {5, 1, 96, 130, 70, 0}});
  cases.clear();
  for (const std::int64_t head_dim : {64, 96, 128}) {
    for (const std::int64_t window : {1, 31, 100, 128, 5000}) {
      cases.push_back({2, 1, head_dim, 257, 0, window});
      cases.push_back({2, 1, head_dim, 130, 700, window});
    }
  }
  group(harness, "sliding window", cases);
  group(harness, "long", {{2, 1, 128, 2048, 6000, 0}, {2, 1, 64, 1500, 3001, 0}, {2, 2, 128, 4096, 0, 0}});
  group(harness, "peaked scores", {{4, 2, 128, 257, 500, 0, 12.0}, {4, 2, 64, 257, 500, 0, 12.0}});
  // 30 times the keys' own deviation, of which e4m3 would leave nothing: only centred do they pass.
  group(harness, "biased keys",
        {{4, 2, 128, 257, 500, 0, 1.5, 30.0}, {4, 2, 64, 257, 500, 100, 1.5, 30.0}, {2, 1, 96, 130, 0, 0, 1.5, 30.0}});
  std::unique_ptr<Backend> backend;
  try {
    backend = make_cuda_backend(Precision::fp8, 0, AttentionPrecision::fp8);
  } catch (const std::exception& error) {
    harness.skip("attention fp8 through the backend", error.what());
    return;
  }
  harness.group("attention fp8 through the backend", [&](Result& r) { check_backend(*backend, r); });
}

}  // namespace longrope::kernels::check
