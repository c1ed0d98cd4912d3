#include "kernels/cpu/gemm.hpp"

#include <omp.h>

#include <cstring>
#include <string>
#include <unordered_map>

#include "kernels/check.hpp"
#include "kernels/convert.hpp"
#include "kernels/cpu/aligned.hpp"
#include "kernels/cpu/onednn_shim.hpp"
#include "kernels/cpu/parallel.hpp"

namespace longrope::kernels {
namespace {

using dnnl::memory;

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

/// oneDNN's OpenMP runtime stays on the calling thread while this lives; the tasks above it are TBB's.
class SingleThreadedOpenMp {
 public:
  SingleThreadedOpenMp() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~SingleThreadedOpenMp() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  SingleThreadedOpenMp(const SingleThreadedOpenMp&) = delete;
  SingleThreadedOpenMp& operator=(const SingleThreadedOpenMp&) = delete;

 private:
  int before_;
};

/// oneDNN's errors as ours.
template <class Body>
auto translate_errors(const Body& body) {
  try {
    const SingleThreadedOpenMp guard;
    return body();
  } catch (const dnnl::error& error) {
    throw RuntimeError(std::string("[gemm] oneDNN must succeed but reported: ") + error.what());
  }
}

struct ScratchpadTag {};
struct PaddedXTag {};
struct PaddedYTag {};

}  // namespace

struct Gemm::Implementation {
  struct Primitive {
    dnnl::matmul matmul;
    memory::desc src;
    memory::desc dst;
    memory::desc scratchpad;
  };

  memory::data_type type;
  memory::desc plain_weights;   // [in, out] over the source's [out, in] storage
  memory::desc packed_weights;  // in the layout oneDNN chose
  memory::desc bias;            // zero: none
  std::int64_t in = 0;
  std::int64_t out = 0;

  Primitive assign;
  Primitive accumulate;

  dnnl::matmul::primitive_desc describe(bool adds, const memory::desc& weights) const {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);  // float32 stays float32, whatever the environment says
    if (adds) {
      dnnl::post_ops post_ops;
      post_ops.append_sum(1.0F);
      attributes.set_post_ops(post_ops);
    }
    const memory::desc src({kGemmRows, in}, type, memory::format_tag::ab);
    const memory::desc dst({kGemmRows, out}, memory::data_type::f32, memory::format_tag::ab);
    return matmul_descriptor(cpu_engine(), src, weights, bias, dst, attributes);
  }

  Primitive compile(bool adds) const {
    const auto descriptor = describe(adds, packed_weights);
    return {dnnl::matmul(descriptor), descriptor.src_desc(), descriptor.dst_desc(), descriptor.scratchpad_desc()};
  }

  std::size_t element_bytes() const { return type == memory::data_type::bf16 ? 2 : 4; }

  void execute(const Primitive& primitive, const void* packed, const float* bias_values, const void* x,
               float* y) const {
    const auto& engine = cpu_engine();
    void* scratchpad = thread_scratch<ScratchpadTag>(static_cast<std::int64_t>(primitive.scratchpad.get_size()));
    // oneDNN takes every argument as void*; source, weights and bias are only read.
    std::unordered_map<int, memory> arguments{
        {DNNL_ARG_SRC, memory(primitive.src, engine, const_cast<void*>(x))},
        {DNNL_ARG_WEIGHTS, memory(packed_weights, engine, const_cast<void*>(packed))},
        {DNNL_ARG_DST, memory(primitive.dst, engine, y)},
        {DNNL_ARG_SCRATCHPAD, memory(primitive.scratchpad, engine, scratchpad)}};
    if (bias_values != nullptr) {
      arguments.emplace(DNNL_ARG_BIAS, memory(bias, engine, const_cast<float*>(bias_values)));
    }
    dnnl::stream stream(engine);
    primitive.matmul.execute(stream, arguments);
    stream.wait();
  }
};

Gemm::Gemm(std::int64_t in_features, std::int64_t out_features, Precision precision, bool has_bias)
    : in_(in_features), out_(out_features), implementation_(std::make_unique<Implementation>()) {
  require(in_features > 0, "gemm", "in_features must be positive", in_features);
  require(out_features > 0, "gemm", "out_features must be positive", out_features);
  Implementation& self = *implementation_;
  self.in = in_features;
  self.out = out_features;
  self.type = precision == Precision::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  translate_errors([&] {
    self.plain_weights = memory::desc({in_, out_}, self.type, memory::format_tag::ba);
    if (has_bias) self.bias = memory::desc({1, out_}, memory::data_type::f32, memory::format_tag::ab);
    const memory::desc any({in_, out_}, self.type, memory::format_tag::any);
    self.packed_weights = self.describe(false, any).weights_desc();
    self.assign = self.compile(false);
    self.accumulate = self.compile(true);
  });
}

Gemm::~Gemm() = default;

std::shared_ptr<void> Gemm::pack(ConstMatrix weight) const {
  require_matrix(weight, "gemm", "weight", out_, in_, weight.dtype);
  const Implementation& self = *implementation_;
  const bool bf16 = self.type == memory::data_type::bf16;
  const auto element_bytes = static_cast<std::int64_t>(self.element_bytes());
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
    const auto bytes = static_cast<std::int64_t>(self.packed_weights.get_size());
    std::shared_ptr<void> packed = allocate_aligned(bytes);
    memory from(self.plain_weights, cpu_engine(), plain.get());
    memory to(self.packed_weights, cpu_engine(), packed.get());
    dnnl::stream stream(cpu_engine());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
    return packed;
  });
}

void Gemm::run(const void* packed, const float* bias, const void* x, float* y, std::int64_t rows,
               bool accumulate) const {
  const Implementation& self = *implementation_;
  const Implementation::Primitive& primitive = accumulate ? self.accumulate : self.assign;
  translate_errors([&] {
    if (rows == kGemmRows) {
      self.execute(primitive, packed, bias, x, y);
      return;
    }
    // oneDNN may order the sums of another number of rows otherwise: fewer rows are padded, never a kernel of their
    // own.
    const std::size_t x_bytes = static_cast<std::size_t>(rows * in_) * self.element_bytes();
    const std::size_t padded_x_bytes = static_cast<std::size_t>(kGemmRows * in_) * self.element_bytes();
    const std::size_t y_bytes = static_cast<std::size_t>(rows * out_) * sizeof(float);
    const std::size_t padded_y_bytes = static_cast<std::size_t>(kGemmRows * out_) * sizeof(float);
    auto* padded_x = static_cast<char*>(thread_scratch<PaddedXTag>(static_cast<std::int64_t>(padded_x_bytes)));
    auto* padded_y = static_cast<char*>(thread_scratch<PaddedYTag>(static_cast<std::int64_t>(padded_y_bytes)));
    std::memcpy(padded_x, x, x_bytes);
    std::memset(padded_x + x_bytes, 0, padded_x_bytes - x_bytes);
    if (accumulate) {
      std::memcpy(padded_y, y, y_bytes);
      std::memset(padded_y + y_bytes, 0, padded_y_bytes - y_bytes);
    }
    self.execute(primitive, packed, bias, padded_x, reinterpret_cast<float*>(padded_y));
    std::memcpy(y, padded_y, y_bytes);
  });
}

bool processor_has_bf16_products() {
  const auto have = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto need = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (have & need) == need;
}

}  // namespace longrope::kernels
