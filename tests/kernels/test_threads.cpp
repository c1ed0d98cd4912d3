// The same bits from any number of threads, and from calls that run beside each other.
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <array>

#include "tests/kernels/fixtures.hpp"

using namespace longrope::kernels;
using namespace longrope::kernels::test;

namespace {

template <class Pack>
auto pack_random(std::int64_t rows, std::int64_t cols, const Pack& pack) {
  const Floats w = random_floats(rows * cols, 0.2);
  return pack(ConstMatrix{w.data(), DType::f32, rows, cols});
}

/// A small layer through every operation; returns the bits of all that it computed.
class Layer {
 public:
  explicit Layer(const Backend& backend)
      : backend_(backend),
        ids_(random_ids(kRows, kVocabulary)),
        norm_(random_floats(kHidden)),
        embedding_(pack_random(kVocabulary, kHidden, [&](ConstMatrix w) { return backend.pack_embedding(w); })),
        head_(pack_random(kVocabulary, kHidden, [&](ConstMatrix w) { return backend.pack_lm_head(w); })),
        qkv_(pack_random(shape().qkv_cols(), kHidden, [&](ConstMatrix w) { return backend.pack_linear(w, {}); })),
        gate_up_(pack_random(2 * kHidden, kHidden, [&](ConstMatrix w) { return backend.pack_linear(w, {}); })) {}

  std::vector<unsigned char> run() const {
    const DType type = backend_.activation_dtype();
    RotationSpec spec;
    for (int i = 0; i < 12; ++i) spec.inv_freq.push_back(std::pow(0.4, i));
    const auto table = backend_.make_rotation_table(spec, kRows);
    const auto kv = backend_.make_kv_buffer(shape(), kRows);
    const Guarded hidden(backend_, kRows, kHidden, DType::f32);
    const Guarded normed(backend_, kRows, kHidden, type);
    const Guarded qkv(backend_, kRows, shape().qkv_cols(), DType::f32);
    const Guarded q(backend_, kRows, kHidden, DType::f32);
    const Guarded mixed(backend_, kRows, kHidden, type);
    const Guarded gates(backend_, kRows, 2 * kHidden, DType::f32);
    const Guarded gated(backend_, kRows, kHidden, type);
    backend_.embed(*embedding_, ids_, hidden.matrix());
    backend_.rms_norm(hidden.matrix(), *backend_.pack_vector(norm_), 1e-5F, normed.matrix());
    backend_.linear(*qkv_, normed.matrix(), qkv.matrix(), false);
    RotateQkvOptions options;
    options.shape = shape();
    backend_.rotate_qkv(options, qkv.matrix(), *table, q.matrix(), *kv);
    backend_.attention(shape(), q.matrix(), *kv, 0, 0, mixed.matrix());
    backend_.linear(*gate_up_, mixed.matrix(), gates.matrix(), false);
    backend_.gated_silu(gates.matrix(), gated.matrix());
    std::vector<double> nll(kRows);
    backend_.nll(*head_, gated.matrix(), ids_, nll);
    std::vector<unsigned char> bits = mixed.bits();
    const auto more = gated.bits();
    bits.insert(bits.end(), more.begin(), more.end());
    const auto* bytes = reinterpret_cast<const unsigned char*>(nll.data());
    bits.insert(bits.end(), bytes, bytes + nll.size() * sizeof(double));
    return bits;
  }

 private:
  static constexpr std::int64_t kRows = 700;
  static constexpr std::int64_t kHidden = 96;
  static constexpr std::int64_t kVocabulary = 1500;
  static AttentionShape shape() { return {4, 2, 24, 24}; }

  const Backend& backend_;
  std::vector<std::int32_t> ids_;
  Floats norm_;
  std::unique_ptr<Embedding> embedding_;
  std::unique_ptr<LmHead> head_;
  std::unique_ptr<Linear> qkv_;
  std::unique_ptr<Linear> gate_up_;
};

}  // namespace

TEST_CASE("results have the same bits with 1, 2, 3 and 8 threads", "[threads][determinism]") {
  for (const auto& backend : backends()) {
    const Layer layer(*backend);
    oneapi::tbb::global_control allow(oneapi::tbb::global_control::max_allowed_parallelism, 8);
    std::vector<unsigned char> alone;
    oneapi::tbb::task_arena one(1);
    one.execute([&] { alone = layer.run(); });
    for (const int threads : {2, 3, 8}) {
      oneapi::tbb::task_arena arena(threads);
      std::vector<unsigned char> together;
      arena.execute([&] { together = layer.run(); });
      CAPTURE(threads);
      CHECK(together == alone);
    }
  }
}

TEST_CASE("calls that run beside each other do not disturb each other", "[threads][determinism]") {
  for (const auto& backend : backends()) {
    const Layer layer(*backend);
    const auto expected = layer.run();
    oneapi::tbb::global_control allow(oneapi::tbb::global_control::max_allowed_parallelism, 4);
    oneapi::tbb::task_arena arena(4);
    std::array<bool, 8> same{};
    arena.execute([&] {
      oneapi::tbb::parallel_for(0, 8, [&](int i) { same[static_cast<std::size_t>(i)] = layer.run() == expected; });
    });
    for (const bool equal : same) CHECK(equal);
  }
}
