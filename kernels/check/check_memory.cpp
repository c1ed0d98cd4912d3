// Copies that run beside other work, and what memory_format.hpp says of the device's memory against its own account.
#include <cuda_runtime_api.h>

#include <cstring>
#include <memory>

#include "kernels/backend.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/error.hpp"
#include "kernels/memory_format.hpp"

namespace longrope::kernels::check {
namespace {

/// A host matrix through two device chunks, normalised on its way: what a streamed hidden state does.
void check_copies(const Backend& backend, Result& result) {
  constexpr std::int64_t kCols = 1024;
  constexpr std::int64_t kChunk = 2048;
  constexpr std::int64_t kChunks = 7;
  std::vector<float> identity(static_cast<std::size_t>(kCols * kCols), 0.0F);
  for (std::int64_t i = 0; i < kCols; ++i) identity[static_cast<std::size_t>(i * kCols + i)] = 1.0F;
  const auto weight = backend.pack_linear({identity.data(), DType::f32, kCols, kCols}, {});
  const auto ones = backend.pack_vector(std::vector<float>(kCols, 1.0F));
  const std::int64_t count = kChunk * kCols;
  const HostMemory host = backend.allocate_host(kChunks * count * 4);
  auto* values = static_cast<float*>(host.get());
  for (std::int64_t i = 0; i < kChunks * count; ++i) values[i] = (i / kCols + i % kCols) % 2 == 0 ? 3.0F : -3.0F;
  const std::vector<float> before(values, values + kChunks * count);
  const DeviceMemory slots = backend.allocate(2 * count * 4);
  const DeviceMemory normed = backend.allocate(count * 2);
  const auto slot = [&](std::int64_t chunk) {
    return Matrix{slots.get(), DType::f32, 2 * kChunk, kCols}.row_range(chunk % 2 * kChunk, kChunk);
  };
  const auto rows = [&](std::int64_t chunk) { return Matrix{values + chunk * count, DType::f32, kChunk, kCols}; };
  constexpr int kPasses = 3;
  {
    const std::unique_ptr<CopyQueue> copies = backend.make_copy_queue();
    for (int pass = 0; pass < kPasses; ++pass) {
      std::int64_t arrived[2] = {copies->to_device(rows(0), slot(0)), -1};
      for (std::int64_t chunk = 0; chunk < kChunks; ++chunk) {
        if (chunk + 1 < kChunks) arrived[(chunk + 1) % 2] = copies->to_device(rows(chunk + 1), slot(chunk + 1));
        copies->await(arrived[chunk % 2]);
        const Matrix y{normed.get(), DType::bf16, kChunk, kCols};
        backend.rms_norm(slot(chunk), *ones, 0.0F, y);  // +-1 whatever the rows' size
        backend.linear(*weight, y, slot(chunk), true);  // grows by 1 towards its sign
        copies->to_host(slot(chunk), rows(chunk));
      }
    }
  }
  bool right = true;
  for (std::int64_t i = 0; i < kChunks * count; ++i) {
    const float sign = before[static_cast<std::size_t>(i)] > 0 ? 1.0F : -1.0F;
    right = right && values[i] == before[static_cast<std::size_t>(i)] + sign * kPasses;
  }
  result.expect(right, "every row made the way three times");
  result.expect_throw<InputError>([&] { backend.make_copy_queue()->await(0); }, "must have been asked for",
                                  "a copy that was not asked for");
}

std::int64_t pool_bytes(cudaMemPoolAttr attribute) {
  cudaMemPool_t pool = nullptr;
  cuda::check(cudaDeviceGetDefaultMemPool(&pool, 0), "check");
  std::uint64_t bytes = 0;
  cuda::check(cudaMemPoolGetAttribute(pool, attribute, &bytes), "check");
  return static_cast<std::int64_t>(bytes);
}

/// The most the pool held at once, beyond what it held before, while `call` ran.
template <class Call>
std::int64_t most_during(const Backend& backend, const Call& call) {
  backend.finish();
  cudaMemPool_t pool = nullptr;
  cuda::check(cudaDeviceGetDefaultMemPool(&pool, 0), "check");
  std::uint64_t zero = 0;
  cuda::check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &zero), "check");
  const std::int64_t before = pool_bytes(cudaMemPoolAttrUsedMemCurrent);
  call();
  backend.finish();
  return pool_bytes(cudaMemPoolAttrUsedMemHigh) - before;
}

void check_format(const Backend& backend, AttentionPrecision attention, Result& result) {
  const MemoryFormat format = cuda_memory_format(backend.precision(), attention);
  const AttentionShape shape{8, 2, 128, 128};
  constexpr std::int64_t kRows = 3000;
  constexpr std::int64_t kHidden = 1000;
  constexpr std::int64_t kMlp = 2044;  // padded to a multiple of 8
  constexpr std::int64_t kVocabulary = 20011;
  const std::vector<float> zeros(static_cast<std::size_t>(kVocabulary * kHidden), 0.0F);
  const auto near = [&](std::int64_t taken, std::int64_t counted, const std::string& what) {
    result.expect(taken <= counted + counted / 100 + 4096 && counted <= taken + taken / 100 + 4096,
                  what + " takes " + std::to_string(taken) + " bytes but is counted as " + std::to_string(counted));
  };
  std::unique_ptr<Linear> down;
  std::unique_ptr<LmHead> head;
  std::unique_ptr<Embedding> table;
  std::unique_ptr<KvBuffer> kv;
  const auto kept = [&](const auto& call) {
    backend.finish();
    const std::int64_t before = pool_bytes(cudaMemPoolAttrUsedMemCurrent);
    call();
    backend.finish();
    return pool_bytes(cudaMemPoolAttrUsedMemCurrent) - before;
  };
  const std::vector<float> bias(kHidden, 0.0F);
  near(kept([&] {
         down = backend.pack_linear({zeros.data(), DType::f32, kHidden, kMlp}, bias);
       }),
       format.linear(kHidden, kMlp), "a projection");
  near(kept([&] {
         head = backend.pack_lm_head({zeros.data(), DType::f32, kVocabulary, kHidden});
       }),
       format.lm_head(kVocabulary, kHidden), "the LM head");
  near(kept([&] {
         table = backend.pack_embedding({zeros.data(), DType::f32, kVocabulary, kHidden});
       }),
       format.embedding(kVocabulary, kHidden, DType::f32), "the embedding");
  near(kept([&] { kv = backend.make_kv_buffer(shape, kRows); }), format.kv_buffer(shape, kRows), "K and V");

  const auto ids = random_ids(kRows, kVocabulary);
  const DeviceMemory hidden = backend.allocate(kRows * kHidden * 4);
  const DeviceMemory normed = backend.allocate(kRows * kHidden * 2);
  const DeviceMemory gated = backend.allocate(kRows * kMlp * 2);
  const DeviceMemory qkv = backend.allocate(kRows * shape.qkv_cols() * 2);
  const DeviceMemory q = backend.allocate(kRows * 1024 * 2);
  cuda::check(cudaMemset(gated.get(), 0, kRows * kMlp * 2), "check");
  cuda::check(cudaMemset(qkv.get(), 0, static_cast<std::size_t>(kRows * shape.qkv_cols() * 2)), "check");
  const auto ones = backend.pack_vector(std::vector<float>(kHidden, 1.0F));
  RotationSpec spec;
  for (int i = 0; i < 64; ++i) spec.inv_freq.push_back(1.0 / (1.0 + i));
  const auto rotation = backend.make_rotation_table(spec, kRows);
  const std::int64_t most = most_during(backend, [&] {
    const Matrix h{hidden.get(), DType::f32, kRows, kHidden};
    const Matrix n{normed.get(), DType::bf16, kRows, kHidden};
    backend.embed(*table, ids, h);
    backend.rms_norm(h, *ones, 1e-5F, n);
    RotateQkvOptions options;
    options.shape = shape;
    const Matrix queries{q.get(), DType::bf16, kRows, 1024};
    backend.rotate_qkv(options, {qkv.get(), DType::bf16, kRows, shape.qkv_cols()}, *rotation, queries, *kv);
    backend.attention(shape, queries, *kv, 0, 0, {qkv.get(), DType::bf16, kRows, 1024});
    backend.linear(*down, {gated.get(), DType::bf16, kRows, kMlp}, h, true);
    std::vector<double> nll(kRows);
    backend.nll(*head, n, ids, nll);
  });
  const std::int64_t counted = format.scratch({kRows, kRows, kHidden, kMlp, kVocabulary, shape});
  result.expect(most <= counted, "operations took " + std::to_string(most) + " bytes of scratch but are counted as " +
                                     std::to_string(counted));
  result.expect(most > 0, "operations take scratch");
}

}  // namespace

void check_memory(Harness& harness) {
  const auto backend = make_cuda_backend(Precision::bf16);
  harness.group("copies beside other work", [&](Result& result) { check_copies(*backend, result); });
  harness.group("memory as planned",
                [&](Result& result) { check_format(*backend, AttentionPrecision::as_activations, result); });
  std::unique_ptr<Backend> fp8;
  try {
    fp8 = make_cuda_backend(Precision::fp8, 0, AttentionPrecision::fp8);
  } catch (const std::exception& error) {
    harness.skip("memory as planned, all in fp8", error.what());
    return;
  }
  harness.group("memory as planned, all in fp8",
                [&](Result& result) { check_format(*fp8, AttentionPrecision::fp8, result); });
}

}  // namespace longrope::kernels::check
