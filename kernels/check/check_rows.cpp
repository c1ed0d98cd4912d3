// What windows that go through a product together rest on: the bits of a row are those it has alone, among few rows and
// among many, wherever it stands. And a layer of several sequences joined against each of them alone.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/backend.hpp"
#include "kernels/check/backend_data.hpp"
#include "kernels/check/device_data.hpp"
#include "kernels/check/harness.hpp"

namespace longrope::kernels::check {
namespace {

struct Part {
  std::int64_t first, rows;
};

/// As random_values, but a million are drawn and come again: drawing more takes longer than all the rest.
std::vector<float> many_values(std::int64_t n, double deviation = 1.0, bool bf16 = true) {
  constexpr std::int64_t kPeriod = (std::int64_t{1} << 20) + 7;
  std::vector<float> values = random_values(std::min(n, kPeriod), deviation, bf16);
  values.reserve(static_cast<std::size_t>(n));
  for (std::int64_t i = kPeriod; i < n; ++i) values.push_back(values[static_cast<std::size_t>(i - kPeriod)]);
  return values;
}

/// A product as models make them: into bf16, or added to f32.
void check_product(const Backend& backend, std::int64_t rows, std::int64_t in, std::int64_t out, bool accumulate,
                   bool with_bias, Result& result) {
  const std::string what = std::to_string(rows) + " x " + std::to_string(in) + " x " + std::to_string(out) +
                           (accumulate ? " added" : "") + (with_bias ? " with bias" : "");
  const auto bits = bf16_bits(many_values(out * in, 1.0 / std::sqrt(static_cast<double>(in))));
  const auto linear =
      backend.pack_linear({bits.data(), DType::bf16, out, in}, with_bias ? random_values(out) : std::vector<float>());
  result.expect(backend.rows_joinable(), what + ": no algorithm was found whose rows agree");
  const DeviceData x(rows, in, DType::bf16, many_values(rows * in));
  const DType y_dtype = accumulate ? DType::f32 : DType::bf16;
  const auto before = accumulate ? many_values(rows * out, 1.0, false) : std::vector<float>();
  const auto output = [&] {
    return accumulate ? std::make_unique<DeviceData>(rows, out, y_dtype, before)
                      : std::make_unique<DeviceData>(rows, out, y_dtype);
  };
  const auto whole = output();
  backend.linear(*linear, x.matrix(), whole->matrix(), accumulate);
  backend.finish();
  const auto expected = whole->bits();
  const std::int64_t pitch = out * bytes_of(y_dtype);
  for (const Part part : {Part{0, 1}, Part{rows - 1, 1}, Part{3, 31}, Part{rows / 4, rows / 4}, Part{1, 300},
                          Part{rows / 2, rows - rows / 2}, Part{0, rows - 1}}) {
    if (part.first + part.rows > rows) continue;
    const auto y = output();
    backend.linear(*linear, x.matrix().row_range(part.first, part.rows), y->matrix().row_range(part.first, part.rows),
                   accumulate);
    backend.finish();
    const auto found = y->bits();
    const auto offset = static_cast<std::size_t>(part.first * pitch);
    result.expect(
        std::memcmp(found.data() + offset, expected.data() + offset, static_cast<std::size_t>(part.rows * pitch)) == 0,
        what + ": rows from " + std::to_string(part.first) + ", " + std::to_string(part.rows) + " of them");
  }
  result.expect(backend.rows_joinable(), what + ": some number of rows was refused to the shape's algorithm");
}

void check_products(const Backend& backend, Result& result) {
  for (const std::int64_t width : {64, 128, 256, 384, 512}) {
    const std::int64_t mlp = width * 5 / 2 / 16 * 16;
    for (const std::int64_t rows : {4 * std::int64_t{2047}, std::int64_t{8192}}) {
      if (rows == 8192 && width > 256) continue;  // the same kernels, and much to compare
      check_product(backend, rows, width, 2 * width, false, true, result);
      check_product(backend, rows, width, width, true, false, result);
      check_product(backend, rows, width, 2 * mlp, false, false, result);
      check_product(backend, rows, mlp, width, true, false, result);
    }
  }
}

/// Four sequences of a two-layer model: what goes through rows together does, attention is each one's own.
class SmallModel {
 public:
  explicit SmallModel(const Backend& backend)
      : backend_(backend), head_(backend.pack_lm_head(random_weight_(kVocabulary, kHidden))) {
    embedding_ = backend.pack_embedding(random_weight_(kVocabulary, kHidden));
    norm_ = backend.pack_vector(random_values(kHidden));
    for (Weights& w : layers_) {
      w.qkv = backend.pack_linear(random_weight_(kShape.qkv_cols(), kHidden), random_values(kShape.qkv_cols()));
      w.output = backend.pack_linear(random_weight_(kHidden, kShape.heads * kShape.head_dim), {});
      w.gate_up = backend.pack_linear(random_weight_(2 * kMlp, kHidden), {});
      w.down = backend.pack_linear(random_weight_(kHidden, kMlp), {});
    }
    for (int n = 0; n < kSequences; ++n) {
      ids_.push_back(random_ids(kRows, kVocabulary));
      RotationSpec spec;
      for (int i = 0; i < 32; ++i) spec.inv_freq.push_back(1.0 / (1.0 + (2.0 + n) * i));
      tables_.push_back(backend.make_rotation_table(spec, kRows));
    }
  }

  static constexpr int kSequences = 4;

  /// NLL of the rows of sequences first .. first + count - 1, one after the other.
  std::vector<double> run(int first, int count) const {
    const std::int64_t rows = count * kRows;
    const Buffer hidden(backend_, DType::f32, rows, kHidden), normed(backend_, DType::bf16, rows, kHidden);
    const Buffer qkv(backend_, DType::bf16, rows, kShape.qkv_cols()), q(backend_, DType::bf16, rows, 256);
    const Buffer attended(backend_, DType::bf16, rows, 256), gates(backend_, DType::bf16, rows, 2 * kMlp);
    const Buffer gated(backend_, DType::bf16, rows, kMlp);
    const auto part = [&](const Buffer& buffer, int n) { return buffer.matrix.row_range(n * kRows, kRows); };
    std::vector<std::int32_t> targets;
    std::vector<std::unique_ptr<KvBuffer>> kv;
    for (int n = 0; n < count; ++n) {
      const auto& ids = ids_[static_cast<std::size_t>(first + n)];
      targets.insert(targets.end(), ids.begin(), ids.end());
      backend_.embed(*embedding_, ids, part(hidden, n));
      kv.push_back(backend_.make_kv_buffer(kShape, kRows));
    }
    for (const Weights& w : layers_) {
      backend_.rms_norm(hidden.matrix, *norm_, 1e-5F, normed.matrix);
      backend_.linear(*w.qkv, normed.matrix, qkv.matrix, false);
      RotateQkvOptions options;
      options.shape = kShape;
      std::vector<SequenceRotation> rotations;
      for (int n = 0; n < count; ++n) {
        rotations.push_back({part(qkv, n), tables_[static_cast<std::size_t>(first + n)].get(), part(q, n),
                             kv[static_cast<std::size_t>(n)].get()});
      }
      backend_.rotate_sequences(options, rotations);
      for (int n = 0; n < count; ++n) {
        backend_.attention(kShape, part(q, n), *kv[static_cast<std::size_t>(n)], 0, 0, part(attended, n));
      }
      backend_.linear(*w.output, attended.matrix, hidden.matrix, true);
      backend_.rms_norm(hidden.matrix, *norm_, 1e-5F, normed.matrix);
      backend_.linear(*w.gate_up, normed.matrix, gates.matrix, false);
      backend_.gated_silu(gates.matrix, gated.matrix);
      backend_.linear(*w.down, gated.matrix, hidden.matrix, true);
    }
    backend_.rms_norm(hidden.matrix, *norm_, 1e-5F, normed.matrix);
    std::vector<double> nll(targets.size());
    backend_.nll(*head_, normed.matrix, targets, nll);
    return nll;
  }

 private:
  static constexpr std::int64_t kRows = 511;
  static constexpr std::int64_t kHidden = 256;
  static constexpr std::int64_t kMlp = 640;
  static constexpr std::int64_t kVocabulary = 1500;
  static constexpr AttentionShape kShape{4, 2, 64, 64};

  struct Weights {
    std::unique_ptr<Linear> qkv, output, gate_up, down;
  };
  const Backend& backend_;
  RandomWeights random_weight_;
  std::unique_ptr<LmHead> head_;
  std::unique_ptr<Embedding> embedding_;
  std::unique_ptr<Vector> norm_;
  Weights layers_[2];
  std::vector<std::vector<std::int32_t>> ids_;
  std::vector<std::unique_ptr<RotationTable>> tables_;
};

void check_joined(const Backend& backend, Result& result) {
  const SmallModel model(backend);
  std::vector<double> alone;
  for (int n = 0; n < SmallModel::kSequences; ++n) {
    const auto values = model.run(n, 1);
    result.expect(n == 0 || !std::equal(values.begin(), values.end(), alone.begin()), "sequences differ");
    alone.insert(alone.end(), values.begin(), values.end());
  }
  for (int first = 0; first < SmallModel::kSequences; ++first) {
    for (int count = 2; first + count <= SmallModel::kSequences; ++count) {
      const auto joined = model.run(first, count);
      const auto rows = static_cast<std::ptrdiff_t>(alone.size() / SmallModel::kSequences);
      result.expect(std::equal(joined.begin(), joined.end(), alone.begin() + first * rows),
                    std::to_string(count) + " sequences from " + std::to_string(first));
    }
  }
}

}  // namespace

void check_rows(Harness& harness) {
  for (const Precision precision : {Precision::bf16, Precision::fp8}) {
    const std::string suffix = precision == Precision::bf16 ? ", bf16" : ", fp8";
    std::unique_ptr<Backend> backend;
    try {
      backend = make_cuda_backend(precision);
    } catch (const std::exception& error) {
      if (precision == Precision::bf16) throw;
      harness.skip("rows of products alone and joined" + suffix, error.what());
      continue;
    }
    harness.group("rows of small models' products alone and joined" + suffix,
                  [&](Result& r) { check_products(*backend, r); });
    harness.group("rows of large products alone and joined" + suffix, [&](Result& r) {
      check_product(*backend, 1500, 4096, 6144, false, false, r);
      check_product(*backend, 1500, 4096, 4096, true, false, r);
      check_product(*backend, 700, 14336, 4096, true, false, r);
    });
    harness.group("rows of awkward products alone and joined" + suffix, [&](Result& r) {
      const auto own_backend = make_cuda_backend(precision);  // it remembers what cannot be joined
      check_product(*own_backend, 2047, 100, 60, false, true, r);
      check_product(*own_backend, 2047, 99, 33, true, true, r);
      check_product(*own_backend, 700, 7, 257, false, false, r);
    });
    harness.group("sequences joined and alone" + suffix, [&](Result& r) { check_joined(*backend, r); });
  }
}

}  // namespace longrope::kernels::check
