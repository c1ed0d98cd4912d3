// rotate_qkv: q, K and V of a chunk, for whole and partial rotary, grouped heads, head norms and far positions.
#include <cmath>

#include "kernels/backend.hpp"
#include "kernels/check.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"
#include "kernels/cuda/weights.hpp"

namespace longrope::kernels::check {
namespace {

struct Case {
  AttentionShape shape;
  std::int64_t rows = 33;
  std::int64_t first_position = 0;
  bool norms = false;
  std::int64_t start_tokens = 0;
  RotationPrecision precision = RotationPrecision::exact;
};

std::string label(const Case& c) {
  return "head_dim " + std::to_string(c.shape.head_dim) + " rotary " + std::to_string(c.shape.rotary_dim) + " heads " +
         std::to_string(c.shape.heads) + "/" + std::to_string(c.shape.kv_heads) + " rows " + std::to_string(c.rows) +
         " at " + std::to_string(c.first_position);
}

RotationSpec make_spec(const Case& c) {
  RotationSpec spec;
  for (std::int64_t i = 0; i < c.shape.rotary_dim / 2; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(c.shape.rotary_dim);
    spec.leading_inv_freq.push_back(std::pow(500000.0, exponent));
    spec.inv_freq.push_back(spec.leading_inv_freq.back() / (1.0 + 0.37 * static_cast<double>(i)));
  }
  spec.start_tokens = c.start_tokens;
  spec.attention_factor = 1.19;
  spec.precision = c.precision;
  return spec;
}

/// One head as the contract says it: normalised, then pairs (i, i + rotary_dim/2) rotated.
void reference_head(const Case& c, const RotationSpec& spec, const Doubles& norm, std::int64_t position, double* head) {
  if (!norm.empty()) rms_normalise(head, norm, static_cast<double>(1e-6F));
  const std::int64_t pairs = c.shape.rotary_dim / 2;
  for (std::int64_t i = 0; i < pairs; ++i) {
    const auto& frequencies = position < spec.start_tokens ? spec.leading_inv_freq : spec.inv_freq;
    const double inv_freq = frequencies[static_cast<std::size_t>(i)];
    double cosine = 0.0;
    double sine = 0.0;
    if (spec.precision == RotationPrecision::exact) {
      const long double angle = static_cast<long double>(position) * static_cast<long double>(inv_freq);
      cosine = static_cast<double>(std::cos(angle)) * spec.attention_factor;
      sine = static_cast<double>(std::sin(angle)) * spec.attention_factor;
    } else {
      const float angle = static_cast<float>(position) * static_cast<float>(inv_freq);
      cosine = round_bf16(std::cos(static_cast<double>(angle)) * spec.attention_factor);
      sine = round_bf16(std::sin(static_cast<double>(angle)) * spec.attention_factor);
    }
    const double a = head[i];
    const double b = head[i + pairs];
    head[i] = a * cosine - b * sine;
    head[i + pairs] = b * cosine + a * sine;
  }
}

/// Rows [first, first + count) of what fills `all`, each `cols` wide.
Doubles rows_of(const Doubles& all, std::int64_t first, std::int64_t count, std::int64_t cols) {
  return {all.begin() + first * cols, all.begin() + (first + count) * cols};
}

bool all_nan(const Doubles& values) {
  for (const double value : values) {
    if (!std::isnan(value)) return false;
  }
  return true;
}

void check_case(const Backend& backend, const Case& c, Result& result) {
  constexpr double kTolerance = 2.5e-3;  // one rounding to bf16
  const AttentionShape& s = c.shape;
  const RotationSpec spec = make_spec(c);
  const std::int64_t end = c.first_position + c.rows;
  const std::int64_t capacity = end + 5;
  const auto table = backend.make_rotation_table(spec, end);
  const auto kv = backend.make_kv_buffer(s, capacity);
  const auto& buffer = own<cuda::CudaKvBuffer>(*kv, "check");
  backend.finish();
  const auto kv_bytes = static_cast<std::size_t>(capacity * buffer.row_bytes());
  cuda::check(cudaMemset(buffer.keys(), 0xFF, kv_bytes), "check");
  cuda::check(cudaMemset(buffer.values(), 0xFF, kv_bytes), "check");

  const auto qkv = random_values(c.rows * s.qkv_cols());
  const auto q_norm = random_values(s.head_dim, 1.0, false);
  const auto k_norm = random_values(s.head_dim, 1.0, false);
  const auto q_weights = backend.pack_vector(q_norm);
  const auto k_weights = backend.pack_vector(k_norm);
  RotateQkvOptions options;
  options.shape = s;
  options.first_position = c.first_position;
  options.q_norm = c.norms ? q_weights.get() : nullptr;
  options.k_norm = c.norms ? k_weights.get() : nullptr;
  options.norm_epsilon = 1e-6F;
  const DeviceData input(c.rows, s.qkv_cols(), DType::bf16, qkv);
  const DeviceData q(c.rows, s.heads * s.head_dim, DType::bf16);
  backend.rotate_qkv(options, input.matrix(), *table, q.matrix(), *kv);
  backend.finish();

  Doubles expected_q;
  Doubles expected_k;
  Doubles expected_v;
  for (std::int64_t r = 0; r < c.rows; ++r) {
    for (std::int64_t h = 0; h < s.heads + 2 * s.kv_heads; ++h) {
      const auto begin = qkv.begin() + r * s.qkv_cols() + h * s.head_dim;
      Doubles head(begin, begin + s.head_dim);
      const bool is_q = h < s.heads;
      if (h >= s.heads + s.kv_heads) {
        expected_v.insert(expected_v.end(), head.begin(), head.end());
        continue;
      }
      const Doubles norm = c.norms ? doubles(is_q ? q_norm : k_norm) : Doubles();
      reference_head(c, spec, norm, c.first_position + r, head.data());
      if (is_q) {
        for (double& value : head) value /= std::sqrt(static_cast<double>(s.head_dim));
      }
      Doubles& target = is_q ? expected_q : expected_k;
      target.insert(target.end(), head.begin(), head.end());
    }
  }
  const std::int64_t kv_cols = s.kv_heads * s.head_dim;
  const Doubles keys = read_device(buffer.keys(), DType::bf16, capacity * kv_cols);
  const Doubles values = read_device(buffer.values(), DType::bf16, capacity * kv_cols);
  result.compare(q.values(), expected_q, kTolerance, "q, " + label(c));
  result.compare(rows_of(keys, c.first_position, c.rows, kv_cols), expected_k, kTolerance, "k, " + label(c));
  result.expect(rows_of(values, c.first_position, c.rows, kv_cols) == expected_v, "v is copied, " + label(c));
  result.expect(q.guards_intact(), "q's neighbours, " + label(c));
  for (const Doubles& all : {keys, values}) {
    result.expect(all_nan(rows_of(all, 0, c.first_position, kv_cols)) && all_nan(rows_of(all, end, 5, kv_cols)),
                  "rows of other positions are untouched, " + label(c));
  }
}

/// Many sequences at once, each with a table of its own, against one after the other: the same bits, nothing beside.
void check_sequences(const Backend& backend, const AttentionShape& shape, std::int64_t rows, int count, bool norms,
                     Result& result) {
  constexpr std::int64_t kFirst = 7;
  const std::int64_t capacity = kFirst + rows + 5;
  const std::string what = std::to_string(count) + " sequences, head_dim " + std::to_string(shape.head_dim);
  const auto q_weights = backend.pack_vector(random_values(shape.head_dim, 1.0, false));
  const auto k_weights = backend.pack_vector(random_values(shape.head_dim, 1.0, false));
  RotateQkvOptions options;
  options.shape = shape;
  options.first_position = kFirst;
  options.q_norm = norms ? q_weights.get() : nullptr;
  options.k_norm = norms ? k_weights.get() : nullptr;
  options.norm_epsilon = 1e-6F;
  const std::int64_t q_cols = shape.heads * shape.head_dim;
  const DeviceData qkv(count * rows, shape.qkv_cols(), DType::bf16, random_values(count * rows * shape.qkv_cols()));
  const DeviceData together(count * rows, q_cols, DType::bf16);
  const DeviceData alone(count * rows, q_cols, DType::bf16);
  std::vector<std::unique_ptr<RotationTable>> tables;
  std::vector<std::unique_ptr<KvBuffer>> kv[2];
  std::vector<SequenceRotation> sequences;
  for (int n = 0; n < count; ++n) {
    RotationSpec spec;
    for (std::int64_t i = 0; i < shape.rotary_dim / 2; ++i) {
      spec.inv_freq.push_back(1.0 / (1.0 + (1.5 + n) * static_cast<double>(i)));
      spec.leading_inv_freq.push_back(1.0 / (2.0 + (1.5 + n) * static_cast<double>(i)));
    }
    spec.start_tokens = n % 3 == 0 ? 0 : 5 + 2 * n;
    spec.attention_factor = 1.0 + 0.1 * n;
    spec.precision = n % 4 == 3 ? RotationPrecision::hf : RotationPrecision::exact;
    tables.push_back(backend.make_rotation_table(spec, kFirst + rows));
    for (auto& buffers : kv) {
      buffers.push_back(backend.make_kv_buffer(shape, capacity));
      const auto& own_buffer = own<cuda::CudaKvBuffer>(*buffers.back(), "check");
      backend.finish();
      cuda::check(cudaMemset(own_buffer.keys(), 0xFF, static_cast<std::size_t>(capacity * own_buffer.row_bytes())),
                  "check");
      cuda::check(cudaMemset(own_buffer.values(), 0xFF, static_cast<std::size_t>(capacity * own_buffer.row_bytes())),
                  "check");
    }
    sequences.push_back({qkv.matrix().row_range(n * rows, rows), tables.back().get(),
                         together.matrix().row_range(n * rows, rows), kv[0].back().get()});
  }
  backend.rotate_sequences(options, sequences);
  for (int n = 0; n < count; ++n) {
    const auto i = static_cast<std::size_t>(n);
    backend.rotate_qkv(options, sequences[i].qkv, *tables[i], alone.matrix().row_range(n * rows, rows), *kv[1][i]);
  }
  backend.finish();
  result.expect(together.bits() == alone.bits() && together.guards_intact(), "q of " + what);
  const auto bytes_of_kv = [&](const void* from, const cuda::CudaKvBuffer& buffer) {
    std::vector<unsigned char> bytes(static_cast<std::size_t>(capacity * buffer.row_bytes()));
    cuda::check(cudaMemcpy(bytes.data(), from, bytes.size(), cudaMemcpyDeviceToHost), "check");
    return bytes;
  };
  for (std::size_t n = 0; n < sequences.size(); ++n) {
    const auto& a = own<const cuda::CudaKvBuffer>(*kv[0][n], "check");
    const auto& b = own<const cuda::CudaKvBuffer>(*kv[1][n], "check");
    result.expect(bytes_of_kv(a.keys(), a) == bytes_of_kv(b.keys(), b) &&
                      bytes_of_kv(a.values(), a) == bytes_of_kv(b.values(), b),
                  "K and V of " + what);
  }
}

}  // namespace

void check_rotation(Harness& harness) {
  const auto backend = make_cuda_backend(Precision::bf16);
  harness.group("rotate_qkv, head_dim and rows", [&](Result& r) {
    for (const std::int64_t head_dim : {64, 80, 96, 128, 256}) {
      for (const std::int64_t rows : {1, 31, 33, 257}) check_case(*backend, {{4, 2, head_dim, head_dim}, rows, 5}, r);
    }
  });
  harness.group("rotate_qkv, grouped heads", [&](Result& r) {
    for (const std::int64_t group : {1, 4, 8}) check_case(*backend, {{2 * group, 2, 128, 128}, 33, 100}, r);
    check_case(*backend, {{9, 3, 64, 64}, 33, 100}, r);
    check_case(*backend, {{32, 32, 96, 96}, 33, 0}, r);
  });
  harness.group("rotate_qkv, partial rotary", [&](Result& r) {
    check_case(*backend, {{4, 2, 80, 32}, 33, 7}, r);
    check_case(*backend, {{4, 2, 128, 64}, 33, 7}, r);
    check_case(*backend, {{4, 2, 96, 48}, 33, 7}, r);
    check_case(*backend, {{4, 2, 80, 20}, 33, 7}, r);
    check_case(*backend, {{4, 2, 64, 0}, 33, 7}, r);
  });
  harness.group("rotate_qkv, awkward heads", [&](Result& r) {
    for (const std::int64_t head_dim : {2, 8, 24, 50, 254})
      check_case(*backend, {{3, 1, head_dim, head_dim}, 33, 3}, r);
    check_case(*backend, {{3, 1, 51, 24}, 33, 3}, r);
  });
  harness.group("rotate_qkv, head norms", [&](Result& r) {
    for (const std::int64_t head_dim : {64, 80, 128, 256, 50}) {
      check_case(*backend, {{8, 2, head_dim, head_dim / 4 * 2}, 33, 9, true}, r);
      check_case(*backend, {{8, 2, head_dim, head_dim}, 33, 9, true}, r);
    }
  });
  harness.group("rotate_qkv, leading tokens", [&](Result& r) {
    check_case(*backend, {{4, 2, 64, 64}, 40, 10, false, 27}, r);
    check_case(*backend, {{4, 2, 128, 128}, 40, 0, false, 1}, r);
  });
  harness.group("rotate_qkv, several sequences", [&](Result& r) {
    check_sequences(*backend, {4, 2, 64, 64}, 33, 40, false, r);
    check_sequences(*backend, {4, 2, 128, 128}, 31, 9, true, r);
    check_sequences(*backend, {2, 1, 256, 256}, 5, 3, false, r);
    check_sequences(*backend, {3, 1, 50, 24}, 17, 5, true, r);
    check_sequences(*backend, {4, 2, 64, 0}, 33, 18, false, r);
  });
  harness.group("rotate_qkv, two million positions", [&](Result& r) {
    check_case(*backend, {{1, 1, 64, 64}, 33, (std::int64_t{1} << 21) - 33}, r);
  });
  harness.group("rotate_qkv, transformers' angles", [&](Result& r) {
    check_case(*backend, {{4, 2, 128, 128}, 257, 5000, false, 0, RotationPrecision::hf}, r);
  });
}

}  // namespace longrope::kernels::check
