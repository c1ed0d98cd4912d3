// What the CUDA backend says where it cannot run, in builds with and without CUDA.
#include <string>

#include "kernels/backend.hpp"
#include "kernels/error.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels;

namespace {

/// What a call that must throw InputError says.
template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const longrope::InputError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("without a CUDA device the backend is refused in one clear line", "[cuda][errors]") {
  if (cuda_device_count() > 0) {
    WARN("this machine has a CUDA device: kernel_check covers it");
    return;
  }
  for (const Precision precision : {Precision::bf16, Precision::fp8}) {
    const std::string text = refusal([&] { make_cuda_backend(precision); });
    CAPTURE(text);
    CHECK(text.find("CUDA") != std::string::npos);
    CHECK(text.find("use --backend cpu") != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
  }
  CHECK(refusal([] { make_cuda_backend(Precision::f32); }).find("CUDA") != std::string::npos);
  CHECK(refusal([] { make_cuda_backend(Precision::bf16, -1); }).find("CUDA") != std::string::npos);
  CHECK_THROWS_AS(cuda_device_info(0), longrope::InputError);
}

TEST_CASE("the CPU backend refuses fp8 in one clear line", "[errors]") {
  const std::string text = refusal([] { make_cpu_backend(Precision::fp8); });
  CAPTURE(text);
  CHECK(text.find("fp8 needs a GPU") != std::string::npos);
}
