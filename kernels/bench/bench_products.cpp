// Matrix products, and the LM head with its loss.
#include <algorithm>
#include <cmath>
#include <exception>

#include "kernels/bench/bench.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/loss.hpp"

namespace longrope::kernels::bench {
namespace {

/// One projection of `backend`, the conversion of x included.
double product_seconds(const Backend& backend, std::int64_t rows, std::int64_t in, std::int64_t out, bool accumulate) {
  const auto weight = random_bf16(out * in, 1.0 / std::sqrt(static_cast<double>(in)));
  const auto linear = backend.pack_linear({weight.data(), DType::bf16, out, in}, {});
  const Random x(backend, rows, in, DType::bf16);
  const Random y(backend, rows, out, accumulate ? DType::f32 : DType::bf16);
  return median_seconds([&] { backend.linear(*linear, x.matrix(), y.matrix(), accumulate); });
}

/// The four projections of a layer of a small model, as a 2048-token window has them alone and four have them joined.
void bench_small_layers(Table& table, const Anchors& anchors) {
  const auto backend = make_cuda_backend(Precision::bf16);
  for (const std::int64_t width : {256, 512}) {
    const std::int64_t mlp = width * 5 / 2;
    const auto pack = [&](std::int64_t out, std::int64_t in) {
      const auto weight = random_bf16(out * in, 1.0 / std::sqrt(static_cast<double>(in)));
      return backend->pack_linear({weight.data(), DType::bf16, out, in}, {});
    };
    for (const std::int64_t windows : {1, 4}) {
      const std::string name = "gemm bf16 a layer of width " + std::to_string(width) + ", 2047 rows x " +
                               std::to_string(windows) + (windows == 1 ? " alone" : " joined");
      if (!table.wanted(name)) continue;
      table.attempt(name, [&] {
        const std::int64_t rows = windows * 2047;
        const auto qkv = pack(2 * width, width), output = pack(width, width);
        const auto gate_up = pack(2 * mlp, width), down = pack(width, mlp);
        const Random x(*backend, rows, width, DType::bf16), gated(*backend, rows, mlp, DType::bf16);
        const Random wide(*backend, rows, 2 * mlp, DType::bf16), heads(*backend, rows, 2 * width, DType::bf16);
        const Random hidden(*backend, rows, width, DType::f32);
        const double seconds = median_seconds([&] {
          backend->linear(*qkv, x.matrix(), heads.matrix(), false);
          backend->linear(*output, x.matrix(), hidden.matrix(), true);
          backend->linear(*gate_up, x.matrix(), wide.matrix(), false);
          backend->linear(*down, gated.matrix(), hidden.matrix(), true);
        });
        const auto weights = static_cast<double>(3 * width * width + 3 * width * mlp);
        table.add(name, seconds, 2.0 * static_cast<double>(rows) * weights, "TFLOP/s", 1e12, anchors.gemm_flops,
                  "gemm bf16 8192^3");
      });
    }
  }
}

}  // namespace

void bench_gemm(Table& table, Anchors& anchors) {
  struct Shape {
    const char* what;
    std::int64_t rows, in, out;
    bool accumulate;
  };
  const std::vector<Shape> shapes{{"8192^3", 8192, 8192, 8192, false},
                                  {"qkv 8192 x 4096 -> 6144", 8192, 4096, 6144, false},
                                  {"output 8192 x 4096 -> 4096, += f32", 8192, 4096, 4096, true},
                                  {"gate_up 8192 x 4096 -> 28672", 8192, 4096, 28672, false},
                                  {"down 8192 x 14336 -> 4096, += f32", 8192, 14336, 4096, true}};
  for (const Precision precision : {Precision::bf16, Precision::fp8}) {
    const std::string prefix = precision == Precision::bf16 ? "gemm bf16 " : "gemm fp8 with its quantisation ";
    std::unique_ptr<Backend> backend;
    try {
      backend = make_cuda_backend(precision);
    } catch (const std::exception& error) {
      table.skip(prefix, error.what());
      continue;
    }
    for (const Shape& s : shapes) {
      const std::string name = prefix + s.what;
      const bool is_anchor = precision == Precision::bf16 && &s == &shapes.front();
      if (!is_anchor && !table.wanted(name)) continue;
      const double flops = 2.0 * static_cast<double>(s.rows) * static_cast<double>(s.in) * static_cast<double>(s.out);
      table.attempt(name, [&] {
        const double seconds = product_seconds(*backend, s.rows, s.in, s.out, s.accumulate);
        if (is_anchor) anchors.gemm_flops = flops / seconds;
        table.add(name, seconds, flops, "TFLOP/s", 1e12, anchors.gemm_flops, "gemm bf16 8192^3");
      });
    }
  }
  bench_small_layers(table, anchors);
}

void bench_nll(Table& table, const Anchors& anchors) {
  const std::string suffix = " 16384 rows, hidden 4096, vocabulary 128256";
  const std::int64_t rows = 16384;
  const std::int64_t hidden = 4096;
  const std::int64_t vocabulary = 128256;
  const auto asked = [&](const cuda::LossImplementation& implementation) {
    return table.wanted(std::string("nll ") + implementation.name + suffix);
  };
  if (std::ranges::none_of(cuda::loss_implementations(), asked)) return;
  const auto backend = make_cuda_backend(Precision::bf16);
  const Random weight(*backend, vocabulary, hidden, DType::bf16, 2.0 / std::sqrt(static_cast<double>(hidden)));
  const Random x(*backend, rows, hidden, DType::bf16);
  std::vector<std::int32_t> targets(static_cast<std::size_t>(rows));
  for (std::size_t i = 0; i < targets.size(); ++i) {
    targets[i] = static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(vocabulary));
  }
  const auto bytes = static_cast<std::int64_t>(targets.size() * sizeof(std::int32_t));
  const DeviceMemory ids = backend->allocate(bytes);
  const DeviceMemory nll = backend->allocate(rows * static_cast<std::int64_t>(sizeof(double)));
  cuda::check(cudaMemcpyAsync(ids.get(), targets.data(), static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice,
                              cuda::stream()),
              "nll");
  backend->finish();
  const cuda::Device device(0);
  const cuda::Uploader uploader(device);
  const cuda::Gemm gemm(device);
  const cuda::LossProblem problem{.x = x.matrix().data,
                                  .weight = weight.matrix().data,
                                  .targets = static_cast<const std::int32_t*>(ids.get()),
                                  .nll = static_cast<double*>(nll.get()),
                                  .rows = rows,
                                  .columns = hidden,
                                  .vocabulary = vocabulary};
  for (const cuda::LossImplementation& implementation : cuda::loss_implementations()) {
    if (!asked(implementation)) continue;
    const std::string name = std::string("nll ") + implementation.name + suffix;
    if (!implementation.supports(problem)) {
      table.skip(name, "not supported on this machine");
      continue;
    }
    table.attempt(name, [&] {
      const double seconds = median_seconds([&] { implementation.run({device, uploader, gemm}, problem); });
      table.add(name, seconds, 2.0 * static_cast<double>(rows * hidden) * static_cast<double>(vocabulary), "TFLOP/s",
                1e12, anchors.gemm_flops, "gemm bf16 8192^3");
    });
  }
}

}  // namespace longrope::kernels::bench
