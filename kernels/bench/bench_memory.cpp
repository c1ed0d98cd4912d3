// What is bound by memory: the copy that is the anchor, norms, rotation, activation.
#include <cmath>

#include "kernels/bench/bench.hpp"
#include "kernels/cuda/check.hpp"

namespace longrope::kernels::bench {

void bench_memory(Table& table, Anchors& anchors) {
  constexpr double kGiga = 1e9;
  const auto backend = make_cuda_backend(Precision::bf16);
  {
    const std::int64_t bytes = std::int64_t{2} << 30;
    const DeviceMemory from = backend->allocate(bytes);
    const DeviceMemory to = backend->allocate(bytes);
    const double seconds = median_seconds([&] {
      cuda::check(cudaMemcpyAsync(to.get(), from.get(), static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice,
                                  cuda::stream()),
                  "copy");
    });
    anchors.copy_bytes = 2.0 * static_cast<double>(bytes) / seconds;
    table.add("copy device to device, 2 GiB, read and written", seconds, 2.0 * static_cast<double>(bytes), "GB/s",
              kGiga);
  }
  const std::int64_t rows = 16384;
  const auto add = [&](const std::string& name, double bytes_per_row, const std::function<void()>& enqueue) {
    if (!table.wanted(name)) return;
    table.add(name, median_seconds(enqueue), bytes_per_row * static_cast<double>(rows), "GB/s", kGiga,
              anchors.copy_bytes, "copy");
  };
  if (table.wanted("rms_norm")) {
    const Random x(*backend, rows, 4096, DType::f32);
    const Random y(*backend, rows, 4096, DType::bf16);
    const auto weight = backend->pack_vector(std::vector<float>(4096, 1.5F));
    add("rms_norm 16384 x 4096", 4096 * 6.0, [&] { backend->rms_norm(x.matrix(), *weight, 1e-5F, y.matrix()); });
  }
  if (table.wanted("gated_silu")) {
    const Random x(*backend, rows, 28672, DType::bf16);
    const Random y(*backend, rows, 14336, DType::bf16);
    add("gated_silu 16384 x 14336", 14336 * 6.0, [&] { backend->gated_silu(x.matrix(), y.matrix()); });
  }
  if (table.wanted("rotate_qkv")) {
    const AttentionShape shape{32, 8, 128, 128};
    const Random qkv(*backend, rows, shape.qkv_cols(), DType::bf16);
    const Random q(*backend, rows, 4096, DType::bf16);
    const std::int64_t first = std::int64_t{1} << 20;
    const auto kv = backend->make_kv_buffer(shape, first + rows);
    const auto norm = backend->pack_vector(std::vector<float>(128, 1.5F));
    RotationSpec spec;
    for (int i = 0; i < 64; ++i) spec.inv_freq.push_back(std::pow(500000.0, -i / 64.0));
    const auto rotation = backend->make_rotation_table(spec, first + rows);
    RotateQkvOptions options;
    options.shape = shape;
    options.first_position = first;
    const double bytes = 2.0 * (6144 + 4096 + 2048);
    add("rotate_qkv 16384 rows at 2^20, heads 32/8 x 128", bytes,
        [&] { backend->rotate_qkv(options, qkv.matrix(), *rotation, q.matrix(), *kv); });
    options.q_norm = norm.get();
    options.k_norm = norm.get();
    add("rotate_qkv the same with head norms", bytes,
        [&] { backend->rotate_qkv(options, qkv.matrix(), *rotation, q.matrix(), *kv); });
  }
}

}  // namespace longrope::kernels::bench
