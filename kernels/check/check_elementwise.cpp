// embed, rms_norm, gated_silu.
#include <cstring>

#include "kernels/backend.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/check/reference.hpp"

namespace longrope::kernels::check {
namespace {

constexpr double kBf16Tolerance = 0x1p-8;  // one rounding to bf16: 2^-8 at most, 1.7e-3 on average

std::string label(std::int64_t rows, std::int64_t cols) { return std::to_string(rows) + " x " + std::to_string(cols); }

/// Bits of values in [1, 2) whose last 13 bits are 0.
std::vector<std::uint16_t> f16_bits(const std::vector<float>& values) {
  std::vector<std::uint16_t> bits;
  for (const float value : values) {
    std::uint32_t word = 0;
    std::memcpy(&word, &value, sizeof(word));
    bits.push_back(static_cast<std::uint16_t>((15U << 10) | ((word >> 13) & 0x3FFU)));
  }
  return bits;
}

void embed(const Backend& backend, DType dtype, Result& result) {
  const std::int64_t vocabulary = 1031;
  for (const std::int64_t hidden : {40, 4096, 7}) {
    std::vector<float> weight = random_values(vocabulary * hidden, 1.0, dtype == DType::bf16);
    std::vector<std::uint16_t> bits = bf16_bits(weight);
    if (dtype == DType::f16) {
      for (float& value : weight) value = 1.0F + static_cast<float>(generator()() % 1024U) / 1024.0F;
      bits = f16_bits(weight);
    }
    const void* source = dtype == DType::f32 ? static_cast<const void*>(weight.data()) : bits.data();
    const auto table = backend.pack_embedding({source, dtype, vocabulary, hidden});
    auto ids = random_ids(257, vocabulary);
    ids.front() = 0;
    ids.back() = static_cast<std::int32_t>(vocabulary - 1);
    const DeviceData out(257, hidden, DType::f32);
    backend.embed(*table, ids, out.matrix());
    backend.finish();
    Doubles expected;
    for (const std::int32_t id : ids) {
      for (std::int64_t i = 0; i < hidden; ++i) expected.push_back(static_cast<double>(weight[at(id, hidden, i)]));
    }
    result.expect(out.values() == expected, "embed " + label(257, hidden));
    result.expect(out.guards_intact(), "embed wrote beside its output");
  }
}

void rms_norm(const Backend& backend, Result& result) {
  for (const std::int64_t rows : {1, 31, 33, 257}) {
    for (const std::int64_t n : {1, 7, 64, 100, 2050, 4096, 8200}) {
      const auto x = random_values(rows * n, 3.0, false);
      const auto weight = random_values(n, 1.0, false);
      const auto weights = backend.pack_vector(weight);
      const DeviceData input(rows, n, DType::f32, x);
      const DeviceData y(rows, n, DType::bf16);
      backend.rms_norm(input.matrix(), *weights, 1e-5F, y.matrix());
      backend.finish();
      Doubles expected = doubles(x);
      for (std::int64_t r = 0; r < rows; ++r) {
        rms_normalise(&expected[at(r, n, 0)], doubles(weight), static_cast<double>(1e-5F));
      }
      result.compare(y.values(), expected, kBf16Tolerance, "rms_norm " + label(rows, n));
      result.expect(y.guards_intact(), "rms_norm wrote beside its output");
    }
  }
}

void gated_silu(const Backend& backend, Result& result) {
  for (const std::int64_t rows : {1, 31, 33, 257}) {
    for (const std::int64_t n : {7, 80, 100, 2816, 14336}) {
      const auto x = random_values(rows * 2 * n, 4.0);
      const DeviceData input(rows, 2 * n, DType::bf16, x);
      const DeviceData y(rows, n, DType::bf16);
      backend.gated_silu(input.matrix(), y.matrix());
      backend.finish();
      Doubles expected;
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t i = 0; i < n; ++i) {
          const auto gate = static_cast<double>(x[at(r, 2 * n, i)]);
          expected.push_back(gate / (1.0 + std::exp(-gate)) * static_cast<double>(x[at(r, 2 * n, n + i)]));
        }
      }
      result.compare(y.values(), expected, 2 * kBf16Tolerance, "gated_silu " + label(rows, n));
      result.expect(y.guards_intact(), "gated_silu wrote beside its output");
    }
  }
}

}  // namespace

void check_elementwise(Harness& harness) {
  const auto backend = make_cuda_backend(Precision::bf16);
  harness.group("embed f32", [&](Result& r) { embed(*backend, DType::f32, r); });
  harness.group("embed bf16", [&](Result& r) { embed(*backend, DType::bf16, r); });
  harness.group("embed f16", [&](Result& r) { embed(*backend, DType::f16, r); });
  harness.group("rms_norm", [&](Result& r) { rms_norm(*backend, r); });
  harness.group("gated_silu", [&](Result& r) { gated_silu(*backend, r); });
}

}  // namespace longrope::kernels::check
