// Products and attention of the backend on one thread, by themselves.
#include <fmt/core.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <vector>

#include "cases.hpp"

namespace longrope::bench {
namespace {

using kernels::Backend;
using kernels::DType;
using kernels::Matrix;
using kernels::Precision;

/// Seconds of one call: the best of several, each long enough to be timed.
double best_seconds(const std::function<void()>& body) {
  body();
  double best_s = 1e300;
  const auto begin = std::chrono::steady_clock::now();
  for (int repeat = 0; repeat < 200; ++repeat) {
    const auto started = std::chrono::steady_clock::now();
    body();
    const auto now = std::chrono::steady_clock::now();
    best_s = std::min(best_s, std::chrono::duration<double>(now - started).count());
    if (repeat >= 4 && std::chrono::duration<double>(now - begin).count() > 0.6) break;
  }
  return best_s;
}

std::vector<float> random_floats(std::int64_t count) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = uniform(random);
  return values;
}

/// Memory of the backend's activation type that holds small numbers.
class Activations {
 public:
  Activations(const Backend& backend, DType dtype, std::int64_t rows, std::int64_t cols)
      : memory_(backend.allocate(rows * cols * kernels::bytes_of(dtype))), matrix{memory_.get(), dtype, rows, cols} {
    const std::vector<float> values = random_floats(rows * cols);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::f32) {
        static_cast<float*>(memory_.get())[i] = values[i];
      } else {
        static_cast<std::uint16_t*>(memory_.get())[i] = static_cast<std::uint16_t>(values[i] < 0 ? 0xBF00 : 0x3F00);
      }
    }
  }

 private:
  kernels::DeviceMemory memory_;

 public:
  Matrix matrix;
};

std::vector<std::unique_ptr<Backend>> cpu_backends(const Peaks& peaks) {
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(kernels::make_cpu_backend(Precision::f32));
  if (peaks.bf16.flops_per_s > 0.0) backends.push_back(kernels::make_cpu_backend(Precision::bf16));
  return backends;
}

const char* name_of(Precision precision) { return precision == Precision::bf16 ? "bf16" : "f32"; }

struct Product {
  const char* name;
  std::int64_t rows, out, in;
};

// A 3M model (hidden 256), one of 110M (hidden 768) and one of 1B (hidden 2048).
constexpr Product kProducts[] = {
    {"3M qkv", 1024, 512, 256},        {"3M output", 1024, 256, 256},     {"3M gate|up", 1024, 1280, 256},
    {"3M down", 1024, 256, 640},       {"110M qkv", 1024, 2304, 768},     {"110M gate|up", 1024, 4096, 768},
    {"110M down", 1024, 768, 2048},    {"110M, 256 rows", 256, 768, 768}, {"1B qkv", 1024, 3072, 2048},
    {"1B gate|up", 1024, 16384, 2048}, {"1B down", 1024, 2048, 8192},
};

}  // namespace

void run_products(const Peaks& peaks) {
  tbb::task_arena one(1);
  fmt::print("\nproducts, one thread      rows x out x in      GF/s   of peak\n");
  for (const auto& backend : cpu_backends(peaks)) {
    for (const Product& p : kProducts) {
      const std::vector<float> weights = random_floats(p.out * p.in);
      const auto linear = backend->pack_linear({weights.data(), DType::f32, p.out, p.in}, {});
      const Activations x(*backend, backend->activation_dtype(), p.rows, p.in);
      const Activations y(*backend, DType::f32, p.rows, p.out);
      const double seconds =
          one.execute([&] { return best_seconds([&] { backend->linear(*linear, x.matrix, y.matrix, false); }); });
      const double rate = 2.0 * static_cast<double>(p.rows * p.out * p.in) / seconds;
      fmt::print("  {:<4} {:<16} {:>20} {:>9.1f} {:>8.1f}%\n", name_of(backend->precision()), p.name,
                 fmt::format("{} x {} x {}", p.rows, p.out, p.in), rate * 1e-9,
                 100.0 * rate / peaks.of(backend->precision()));
    }
  }
}

void run_attention(const Peaks& peaks, std::int64_t tokens) {
  tbb::task_arena one(1);
  fmt::print("\nattention, one thread, {} tokens, causal FLOPs   GF/s   of f32 peak\n", tokens);
  for (const auto& backend : cpu_backends(peaks)) {
    for (const std::int64_t head_dim : {32, 64, 80, 128, 256}) {
      const kernels::AttentionShape shape{4, 2, head_dim, head_dim};
      kernels::RotationSpec spec;
      spec.inv_freq.assign(static_cast<std::size_t>(head_dim / 2), 0.01);
      const auto rotation = backend->make_rotation_table(spec, tokens);
      const auto kv = backend->make_kv_buffer(shape, tokens);
      const Activations qkv(*backend, backend->projection_dtype(), tokens, shape.qkv_cols());
      const Activations q(*backend, backend->projection_dtype(), tokens, shape.heads * head_dim);
      const Activations out(*backend, backend->activation_dtype(), tokens, shape.heads * head_dim);
      const kernels::RotateQkvOptions options{shape, 0, nullptr, nullptr, 1e-5F};
      backend->rotate_qkv(options, qkv.matrix, *rotation, q.matrix, *kv);
      const double seconds = one.execute(
          [&] { return best_seconds([&] { backend->attention(shape, q.matrix, *kv, 0, 0, out.matrix); }); });
      const auto length = static_cast<double>(tokens);
      const double flops = 4.0 * static_cast<double>(shape.heads * head_dim) * length * (length + 1.0) / 2.0;
      fmt::print("  {:<4} head_dim {:<4} 4 heads, 2 of K and V  {:>15.1f} {:>10.1f}%\n", name_of(backend->precision()),
                 head_dim, flops / seconds * 1e-9, 100.0 * flops / seconds / peaks.f32.flops_per_s);
    }
  }
}

}  // namespace longrope::bench
