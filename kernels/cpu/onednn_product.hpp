// One oneDNN product y = x W (+ bias) (+ y) of fixed extents, on the calling thread. Private to kernels/cpu.
#pragma once

#include <omp.h>

#include <cstdint>
#include <string>

#include "kernels/cpu/onednn_shim.hpp"
#include "kernels/error.hpp"

namespace longrope::kernels {

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

const dnnl::engine& cpu_engine();

/// x [rows, in] in `type`, y f32 [rows, out], both dense; bias f32 [out].
struct ProductShape {
  dnnl::memory::data_type type = dnnl::memory::data_type::f32;
  std::int64_t rows = 0;
  std::int64_t in = 0;
  std::int64_t out = 0;
  bool bias = false;
  bool accumulate = false;  ///< y +=
};

class Product {
 public:
  /// weights: the layout of W, [in, out]; format_tag::any lets oneDNN choose. Throws dnnl::error.
  Product(const ProductShape& shape, const dnnl::memory::desc& weights);

  const dnnl::memory::desc& weights() const { return weights_; }
  /// bias: null if and only if the shape has none. Thread-safe. Throws dnnl::error.
  void run(const void* weights, const float* bias, const void* x, float* y) const;

 private:
  dnnl::memory::desc bias_;
  dnnl::matmul matmul_;
  dnnl::memory::desc src_, weights_, dst_, scratchpad_;
};

}  // namespace longrope::kernels
