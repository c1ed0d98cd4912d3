// cuDNN as it is found, or not, at run time; and, where it is, that it accepts the graphs written for it. No device.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/cudnn/attention_graph.hpp"
#include "kernels/cudnn/library.hpp"
#include "kernels/error.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;

TEST_CASE("a cuDNN that is not there leaves a reason", "[cuda][cudnn]") {
  const CudnnApi absent("libcudnn_of_no_version.so.0");
  CHECK(!absent.usable());
  CHECK(absent.version() == 0);
  CHECK(absent.reason().find("libcudnn_of_no_version.so.0") != std::string::npos);
}

TEST_CASE("a library that is not cuDNN leaves a reason", "[cuda][cudnn]") {
  const CudnnApi other("libm.so.6");
  CHECK(!other.usable());
  CHECK(other.reason() == "libm.so.6 lacks part of the graph API");
}

TEST_CASE("cuDNN accepts every operation of the attention graph", "[cuda][cudnn]") {
  const CudnnApi& api = CudnnApi::instance();
  if (!api.usable()) {
    WARN("no cuDNN here: " << api.reason());
    return;
  }
  for (const CudnnAttentionShape& shape :
       {CudnnAttentionShape{32, 8, 128, 4096, 4096, 0}, CudnnAttentionShape{32, 8, 128, 16384, 131072, 0},
        CudnnAttentionShape{9, 3, 80, 300, 1300, 100}, CudnnAttentionShape{4, 1, 256, 1, 1001, 0}}) {
    const CudnnAttentionGraph graph = build_cudnn_attention_graph(api, CudnnTarget{}, shape);
    // keys, rows, -inf; the window's edge, -inf; one row has no mask
    CHECK(graph.scalars.size() == (shape.rows == 1 ? 0U : shape.sliding_window > 0 ? 5U : 3U));
    for (const CudnnScalar& scalar : graph.scalars) {
      CHECK(std::count(graph.internal_uids.begin(), graph.internal_uids.end(), scalar.uid) == 0);
    }
  }
}

TEST_CASE("the tensors a cuDNN kernel takes are read from its plan", "[cuda][cudnn]") {
  // The form of cuDNN 9.19's text, shortened.
  const std::string plan =
      R"({"operationGraph":{"tensors":[{"name":"1","uid":77}]},"engine":{"engineId":2,"payload":{"kernels":[{"kernelName":)"
      R"("fprop","kernelParams":{"offsets":[{"value":0,"name":"attnDesc"},{"value":72,"uid":2898540878490494980,)"
      R"("update_as":"pointer"},{"value":128,"uid":1,"update_as":"tma_desc"},{"value":264,"uid":15,"update_as":)"
      R"("pointer"}],"rawData":"AQAA"},"cubin":"f0VM"},{"kernelParams":{"offsets":[{"uid":4}]}}]}}})";
  CHECK(cudnn_kernel_uids(plan) == std::vector<std::int64_t>{2898540878490494980, 1, 15, 4});
  CHECK(cudnn_kernel_uids("").empty());
  CHECK(cudnn_kernel_uids(R"({"tensors":[{"uid":77}]})").empty());
  CHECK(cudnn_kernel_uids(R"("kernelParams" "uid":)").empty());
}

TEST_CASE("what cuDNN refuses is told in its own words", "[cuda][cudnn]") {
  const CudnnApi& api = CudnnApi::instance();
  if (!api.usable()) {
    WARN("no cuDNN here: " << api.reason());
    return;
  }
  CudnnDescriptor tensor(api, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "attention");
  try {
    tensor.finalize();  // without any attribute
    FAIL("an empty tensor was accepted");
  } catch (const longrope::RuntimeError& error) {
    CHECK(std::string(error.what()).find("[attention] cuDNN must succeed but got CUDNN_STATUS_") == 0);
  }
}
