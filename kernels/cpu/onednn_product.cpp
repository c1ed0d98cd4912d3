#include "kernels/cpu/onednn_product.hpp"

#include <unordered_map>

#include "kernels/cpu/aligned.hpp"

namespace longrope::kernels {
namespace {

using dnnl::memory;

struct ScratchpadTag {};

dnnl::matmul::primitive_desc describe(const ProductShape& s, const memory::desc& weights) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);  // float32 stays float32, whatever the environment says
  if (s.accumulate) {
    dnnl::post_ops post_ops;
    post_ops.append_sum(1.0F);
    attributes.set_post_ops(post_ops);
  }
  const memory::desc src({s.rows, s.in}, s.type, memory::format_tag::ab);
  const memory::desc dst({s.rows, s.out}, memory::data_type::f32, memory::format_tag::ab);
  memory::desc bias;
  if (s.bias) bias = memory::desc({1, s.out}, memory::data_type::f32, memory::format_tag::ab);
  return matmul_descriptor(cpu_engine(), src, weights, bias, dst, attributes);
}

}  // namespace

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

Product::Product(const ProductShape& shape, const memory::desc& weights) {
  const auto descriptor = describe(shape, weights);
  if (shape.bias) bias_ = memory::desc({1, shape.out}, memory::data_type::f32, memory::format_tag::ab);
  matmul_ = dnnl::matmul(descriptor);
  src_ = descriptor.src_desc();
  weights_ = descriptor.weights_desc();
  dst_ = descriptor.dst_desc();
  scratchpad_ = descriptor.scratchpad_desc();
}

void Product::run(const void* weights, const float* bias, const void* x, float* y) const {
  const auto& engine = cpu_engine();
  void* scratchpad = thread_scratch<ScratchpadTag>(static_cast<std::int64_t>(scratchpad_.get_size()));
  // oneDNN takes every argument as void*; source, weights and bias are only read.
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, memory(src_, engine, const_cast<void*>(x))},
                                            {DNNL_ARG_WEIGHTS, memory(weights_, engine, const_cast<void*>(weights))},
                                            {DNNL_ARG_DST, memory(dst_, engine, y)},
                                            {DNNL_ARG_SCRATCHPAD, memory(scratchpad_, engine, scratchpad)}};
  if (bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, memory(bias_, engine, const_cast<float*>(bias)));
  dnnl::stream stream(engine);
  matmul_.execute(stream, arguments);
  stream.wait();
}

}  // namespace longrope::kernels
