#include "kernels/cpu/gemm.hpp"

#include <cstring>
#include <optional>

#include "kernels/check.hpp"
#include "kernels/convert.hpp"
#include "kernels/cpu/aligned.hpp"
#include "kernels/cpu/few_rows.hpp"
#include "kernels/cpu/onednn_product.hpp"
#include "kernels/cpu/parallel.hpp"

namespace longrope::kernels {

using dnnl::memory;

struct Gemm::Implementation {
  ProductShape shape;
  std::optional<Product> assign;
  std::optional<Product> accumulate;
  std::optional<FewRows> few;

  std::int64_t x_bytes(std::int64_t rows) const {
    return rows * shape.in * (shape.type == memory::data_type::bf16 ? 2 : 4);
  }
  std::int64_t y_bytes(std::int64_t rows) const { return rows * shape.out * static_cast<std::int64_t>(sizeof(float)); }
};

Gemm::Gemm(std::int64_t in_features, std::int64_t out_features, Precision precision, bool has_bias)
    : in_(in_features), out_(out_features), implementation_(std::make_unique<Implementation>()) {
  require(in_features > 0, "gemm", "in_features must be positive", in_features);
  require(out_features > 0, "gemm", "out_features must be positive", out_features);
  Implementation& self = *implementation_;
  self.shape = {precision == Precision::bf16 ? memory::data_type::bf16 : memory::data_type::f32,
                kGemmRows,
                in_,
                out_,
                has_bias,
                false};
  translate_errors([&] {
    self.assign.emplace(self.shape, memory::desc({in_, out_}, self.shape.type, memory::format_tag::any));
    ProductShape adds = self.shape;
    adds.accumulate = true;
    self.accumulate.emplace(adds, self.assign->weights());
  });
  self.few.emplace(self.shape, *self.assign, *self.accumulate);
}

Gemm::~Gemm() = default;

std::shared_ptr<void> Gemm::pack(ConstMatrix weight) const {
  require_matrix(weight, "gemm", "weight", out_, in_, weight.dtype);
  const Implementation& self = *implementation_;
  const bool bf16 = self.shape.type == memory::data_type::bf16;
  const std::int64_t element_bytes = bf16 ? 2 : 4;
  const std::shared_ptr<void> plain = allocate_aligned(out_ * in_ * element_bytes);
  parallel_rows(out_, 256, [&](std::int64_t first, std::int64_t count) {
    char* target = static_cast<char*>(plain.get()) + first * in_ * element_bytes;
    if (bf16) {
      convert_to_bf16(weight.data, weight.dtype, first * in_, count * in_, reinterpret_cast<std::uint16_t*>(target));
    } else {
      convert_to_float(weight.data, weight.dtype, first * in_, count * in_, reinterpret_cast<float*>(target));
    }
  });
  return translate_errors([&] {
    const memory::desc& layout = self.assign->weights();
    std::shared_ptr<void> packed = allocate_aligned(static_cast<std::int64_t>(layout.get_size()));
    // [in, out] over the source's [out, in] storage.
    memory from(memory::desc({in_, out_}, self.shape.type, memory::format_tag::ba), cpu_engine(), plain.get());
    memory to(layout, cpu_engine(), packed.get());
    dnnl::stream stream(cpu_engine());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
    return packed;
  });
}

void Gemm::run(const void* packed, const float* bias, const void* x, float* y, std::int64_t rows, bool accumulate,
               bool threads) const {
  const Implementation& self = *implementation_;
  translate_errors([&] {
    const Product& full = accumulate ? *self.accumulate : *self.assign;
    if (rows == kGemmRows) {
      full.run(packed, bias, x, y);
      return;
    }
    const FewRows::Level* few = self.few->level(rows, packed, bias);
    const std::int64_t padded_rows = few == nullptr ? kGemmRows : FewRows::rows(*few);
    const void* padded_x = x;
    float* padded_y = y;
    if (rows < padded_rows) {
      auto* room = static_cast<char*>(thread_scratch<PaddedXTag>(self.x_bytes(padded_rows)));
      std::memcpy(room, x, static_cast<std::size_t>(self.x_bytes(rows)));
      std::memset(room + self.x_bytes(rows), 0, static_cast<std::size_t>(self.x_bytes(padded_rows - rows)));
      padded_x = room;
      padded_y = static_cast<float*>(thread_scratch<PaddedYTag>(self.y_bytes(padded_rows)));
      if (accumulate) {
        std::memcpy(padded_y, y, static_cast<std::size_t>(self.y_bytes(rows)));
        std::memset(padded_y + rows * out_, 0, static_cast<std::size_t>(self.y_bytes(padded_rows - rows)));
      }
    }
    if (few == nullptr) {
      full.run(packed, bias, padded_x, padded_y);
    } else {
      const auto slice = [&](std::int64_t index) {
        FewRows::run(*few, index, packed, bias, padded_x, padded_y, accumulate);
      };
      if (threads) {
        parallel_blocks(FewRows::slices(*few), [&](std::int64_t index) { translate_errors([&] { slice(index); }); });
      } else {
        for (std::int64_t index = 0; index < FewRows::slices(*few); ++index) slice(index);
      }
    }
    if (rows < padded_rows) std::memcpy(y, padded_y, static_cast<std::size_t>(self.y_bytes(rows)));
  });
}

bool Gemm::takes_few(const void* packed, const float* bias, std::int64_t rows) const {
  return translate_errors([&] { return implementation_->few->level(rows, packed, bias) != nullptr; });
}

std::shared_ptr<const Gemm> GemmCache::get(std::int64_t in_features, std::int64_t out_features, Precision precision,
                                           bool has_bias) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Gemm>& gemm =
      made_[{in_features, out_features, static_cast<std::int64_t>(precision), has_bias}];
  if (gemm == nullptr) gemm = std::make_shared<const Gemm>(in_features, out_features, precision, has_bias);
  return gemm;
}

bool processor_has_bf16_products() {
  const auto have = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto need = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (have & need) == need;
}

}  // namespace longrope::kernels
