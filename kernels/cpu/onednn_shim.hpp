// oneDNN 2 (Debian 12) and 3 (Ubuntu 24.04) build a matmul descriptor in different words. Private to kernels/cpu.
#pragma once

#include <oneapi/dnnl/dnnl_version.h>

#include <oneapi/dnnl/dnnl.hpp>

namespace longrope::kernels {

/// Descriptor of dst = src * weights + bias; a zero `bias` (dnnl::memory::desc()) means none.
inline dnnl::matmul::primitive_desc matmul_descriptor(const dnnl::engine& engine, const dnnl::memory::desc& src,
                                                      const dnnl::memory::desc& weights, const dnnl::memory::desc& bias,
                                                      const dnnl::memory::desc& dst,
                                                      const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  if (bias.is_zero()) return {engine, src, weights, dst, attributes};
  return {engine, src, weights, bias, dst, attributes};
#else
  if (bias.is_zero()) return {dnnl::matmul::desc(src, weights, dst), attributes, engine};
  return {dnnl::matmul::desc(src, weights, bias, dst), attributes, engine};
#endif
}

}  // namespace longrope::kernels
