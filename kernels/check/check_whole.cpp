// A layer's operations one after the other: the same bits again and beside other threads; and what is refused.
#include <limits>
#include <memory>
#include <thread>

#include "kernels/backend.hpp"
#include "kernels/check/backend_data.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"
#include "kernels/error.hpp"

namespace longrope::kernels::check {
namespace {

class Layer {
 public:
  explicit Layer(const Backend& backend)
      : backend_(backend),
        ids_(random_ids(kRows, kVocabulary)),
        norm_(backend.pack_vector(random_values(kHidden))),
        embedding_(backend.pack_embedding(random_weight_(kVocabulary, kHidden))),
        head_(backend.pack_lm_head(random_weight_(kVocabulary, kHidden))),
        qkv_(backend.pack_linear(random_weight_(kShape.qkv_cols(), kHidden), random_values(kShape.qkv_cols()))),
        output_(backend.pack_linear(random_weight_(kHidden, 1024), {})),
        gate_up_(backend.pack_linear(random_weight_(2 * kMlp, kHidden), {})),
        down_(backend.pack_linear(random_weight_(kHidden, kMlp), {})) {}

  /// NLL of the rows, computed in memory of the backend as a model does.
  std::vector<double> run() const {
    const Buffer hidden(backend_, DType::f32, kRows, kHidden);
    const Buffer normed(backend_, DType::bf16, kRows, kHidden);
    const Buffer qkv(backend_, DType::bf16, kRows, kShape.qkv_cols());
    const Buffer q(backend_, DType::bf16, kRows, 1024);
    const Buffer attended(backend_, DType::bf16, kRows, 1024);
    const Buffer gates(backend_, DType::bf16, kRows, 2 * kMlp);
    const Buffer gated(backend_, DType::bf16, kRows, kMlp);
    RotationSpec spec;
    for (int i = 0; i < 64; ++i) spec.inv_freq.push_back(1.0 / (1.0 + 3.0 * i));
    const auto table = backend_.make_rotation_table(spec, kRows);
    const auto kv = backend_.make_kv_buffer(kShape, kRows);
    backend_.embed(*embedding_, ids_, hidden.matrix);
    RotateQkvOptions options;
    options.shape = kShape;
    backend_.rms_norm(hidden.matrix, *norm_, 1e-5F, normed.matrix);
    backend_.linear(*qkv_, normed.matrix, qkv.matrix, false);
    backend_.rotate_qkv(options, qkv.matrix, *table, q.matrix, *kv);
    backend_.attention(kShape, q.matrix, *kv, 0, 0, attended.matrix);
    backend_.linear(*output_, attended.matrix, hidden.matrix, true);
    backend_.rms_norm(hidden.matrix, *norm_, 1e-5F, normed.matrix);
    backend_.linear(*gate_up_, normed.matrix, gates.matrix, false);
    backend_.gated_silu(gates.matrix, gated.matrix);
    backend_.linear(*down_, gated.matrix, hidden.matrix, true);
    backend_.rms_norm(hidden.matrix, *norm_, 1e-5F, normed.matrix);
    std::vector<double> nll(kRows);
    backend_.nll(*head_, normed.matrix, ids_, nll);
    return nll;
  }

 private:
  static constexpr std::int64_t kRows = 700;
  static constexpr std::int64_t kHidden = 512;
  static constexpr std::int64_t kMlp = 1408;
  static constexpr std::int64_t kVocabulary = 9001;
  static constexpr AttentionShape kShape{8, 2, 128, 128};

  const Backend& backend_;
  RandomWeights random_weight_;
  std::vector<std::int32_t> ids_;
  std::unique_ptr<Vector> norm_;
  std::unique_ptr<Embedding> embedding_;
  std::unique_ptr<LmHead> head_;
  std::unique_ptr<Linear> qkv_, output_, gate_up_, down_;
};

void check_determinism(const Backend& backend, Result& result) {
  const Layer layer(backend);
  const auto expected = layer.run();
  double mean = 0.0;
  for (const double value : expected) mean += value / static_cast<double>(expected.size());
  result.expect(mean > 5.0 && mean < 20.0, "the mean NLL is that of a guess, got " + std::to_string(mean));
  for (int i = 0; i < 3; ++i) result.expect(layer.run() == expected, "the same bits again");
  constexpr std::size_t kBeside = 4;
  std::vector<std::vector<double>> results(kBeside);
  std::vector<std::string> errors(kBeside);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kBeside; ++i) {
    threads.emplace_back([&, i] {
      try {
        for (int turn = 0; turn < 5; ++turn) results[i] = layer.run();
      } catch (const std::exception& error) {
        errors[i] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < kBeside; ++i) {
    result.expect(errors[i].empty(), "beside other threads: " + errors[i]);
    result.expect(results[i] == expected, "the same bits beside other threads");
  }
}

class ForeignVector final : public Vector {
 public:
  std::int64_t size() const override { return 8; }
};

void check_errors(const Backend& backend, Result& result) {
  const std::vector<float> weight(64, 0.5F);
  const auto linear = backend.pack_linear({weight.data(), DType::f32, 8, 8}, {});
  const auto head = backend.pack_lm_head({weight.data(), DType::f32, 8, 8});
  const auto table = backend.pack_embedding({weight.data(), DType::f32, 8, 8});
  const auto norm = backend.pack_vector(std::vector<float>(8, 1.0F));
  const DeviceData x(2, 8, DType::bf16, std::vector<float>(16, 1.0F));
  const DeviceData f32(2, 8, DType::f32, std::vector<float>(16, 1.0F));
  const DeviceData wide(2, 9, DType::bf16);
  const std::vector<std::int32_t> bad_ids{0, 8};
  const std::vector<std::int32_t> good_ids{0, 7};
  std::vector<double> nll(2);
  const auto input_error = [&](const char* part, const char* what, const std::function<void()>& call) {
    result.expect_throw<InputError>(call, part, what);
  };
  input_error("columns", "linear of a wrong x", [&] { backend.linear(*linear, wide.matrix(), f32.matrix(), false); });
  input_error("element type", "linear of f32", [&] { backend.linear(*linear, f32.matrix(), f32.matrix(), false); });
  input_error("accumulation", "linear into bf16", [&] { backend.linear(*linear, x.matrix(), x.matrix(), true); });
  input_error("vocabulary", "embed of an id", [&] { backend.embed(*table, bad_ids, f32.matrix()); });
  input_error("vocabulary", "nll of a target", [&] { backend.nll(*head, x.matrix(), bad_ids, nll); });
  input_error("another's", "a foreign handle",
              [&] { backend.rms_norm(f32.matrix(), ForeignVector(), 1e-5F, x.matrix()); });
  input_error("one element per column", "rms_norm of other columns", [&] {
    const DeviceData nine(2, 9, DType::f32);
    backend.rms_norm(nine.matrix(), *norm, 1e-5F, wide.matrix());
  });
  input_error("negative", "a negative size", [&] { backend.allocate(-1); });
  input_error("f32", "a backend in f32", [] { make_cuda_backend(Precision::f32); });
  input_error("fp8 attention goes with fp8", "fp8 attention in bf16",
              [] { make_cuda_backend(Precision::bf16, 0, AttentionPrecision::fp8); });
  input_error("device must be below", "a device too many", [] { make_cuda_backend(Precision::bf16, 1000); });
  input_error("kv_heads", "a wrong shape", [&] { backend.make_kv_buffer({3, 2, 64, 64}, 8); });
  RotationSpec spec;
  spec.inv_freq = {1.0, std::numeric_limits<double>::quiet_NaN()};
  input_error("finite", "a NaN frequency", [&] { backend.make_rotation_table(spec, 8); });
  spec.inv_freq.assign(129, 1.0);
  input_error("at most 128", "too many pairs", [&] { backend.make_rotation_table(spec, 8); });
  result.expect_throw<RuntimeError>([&] { backend.allocate(std::int64_t{1} << 50); }, "bytes were asked",
                                    "more memory than there is");
  backend.nll(*head, x.matrix(), good_ids, nll);
  result.expect(std::abs(nll[0] - std::log(8.0)) < 1e-5, "the backend works on after errors");
}

}  // namespace

void check_whole(Harness& harness) {
  const auto backend = make_cuda_backend(Precision::bf16);
  harness.group("a layer in bf16, again and beside others", [&](Result& r) { check_determinism(*backend, r); });
  harness.group("errors", [&](Result& r) { check_errors(*backend, r); });
  std::unique_ptr<Backend> fp8;
  try {
    fp8 = make_cuda_backend(Precision::fp8);
  } catch (const std::exception& error) {
    harness.skip("a layer in fp8", error.what());
    return;
  }
  harness.group("a layer in fp8, again and beside others", [&](Result& r) { check_determinism(*fp8, r); });
}

}  // namespace longrope::kernels::check
