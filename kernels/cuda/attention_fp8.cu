// FP8 attention's launches: what is quantised where, and which configuration of the kernel solves which problem.
#include <cuda_runtime.h>

#include "kernels/cuda/attention_fp8.hpp"
#include "kernels/cuda/attention_fp8_kernel.cuh"
#include "kernels/cuda/attention_fp8_quantize.cuh"
#include "kernels/cuda/attention_hopper_launch.cuh"

namespace longrope::kernels::cuda {
namespace {

constexpr const char* kWhere = "attention_fp8";

// Not yet timed on a device.
using Narrow = hopper::Fp8AttentionConfig<64, 3, 4>;
using Middle = hopper::Fp8AttentionConfig<128, 3, 4>;

/// Calls `use` with the configuration for a head_dim that fp8::has_head_dim.
template <class Use>
bool with_config(std::int64_t head_dim, Use&& use) {
  return head_dim == 64 ? use(Narrow{}) : use(Middle{});
}

void quantize(const fp8::QuantizeArguments& arguments, cudaStream_t stream) {
  const fp8::QuantizeBlocks blocks = fp8::quantize_blocks(arguments.shape);
  fp8::quantize_queries_kernel<<<blocks.queries, fp8::kThreads, 0, stream>>>(arguments);
  check_launch(kWhere);
  fp8::key_statistics_kernel<<<blocks.statistics, fp8::kThreads, 0, stream>>>(arguments);
  check_launch(kWhere);
  fp8::key_scales_kernel<<<blocks.scales, fp8::kScaleThreads, 0, stream>>>(arguments);
  check_launch(kWhere);
  fp8::quantize_keys_kernel<<<blocks.keys, fp8::kThreads, 0, stream>>>(arguments);
  check_launch(kWhere);
}

template <class Config>
void launch(const AttentionProblem& seen, const fp8::QuantizeArguments& quantized,
            const hopper::AttentionSchedule& schedule, cudaStream_t stream) {
  hopper::Fp8AttentionArguments arguments{};
  arguments.problem = hopper::arguments_of<Config>(seen, schedule);
  const std::int64_t padded = fp8::round_up(seen.keys(), fp8::kTileKeys);
  const TensorElement e4m3 = TensorElement::e4m3;
  const int columns = static_cast<int>(hopper::kRowBytes);
  arguments.problem.q = make_tensor_map(
      quantized.q_out, {{seen.head_dim, seen.heads, seen.rows}, {columns, 1, Config::kTileRows}, e4m3}, kWhere);
  arguments.problem.k = make_tensor_map(
      quantized.k_out, {{seen.head_dim, seen.kv_heads, seen.keys()}, {columns, 1, Config::kTileKeys}, e4m3}, kWhere);
  arguments.problem.v = make_tensor_map(
      quantized.v_out, {{padded, seen.head_dim, seen.kv_heads}, {columns, Config::kHeadDim, 1}, e4m3}, kWhere);
  arguments.q_scales = quantized.q_scales;
  arguments.kv_scales = quantized.kv_scales;
  hopper::launch_blocks<Config>(hopper::attention_fp8_kernel<Config>, arguments, arguments.problem.order.tiles,
                                schedule, kWhere, stream);
}

}  // namespace

bool attention_fp8_supports(const AttentionProblem& problem) {
  return fp8::has_head_dim(problem.head_dim) && hopper::can_attend(problem) &&
         with_config(problem.head_dim, [](auto config) {
           return hopper::kernel_present(hopper::attention_fp8_kernel<decltype(config)>);
         });
}

std::int64_t attention_fp8_workspace_bytes(const AttentionProblem& problem) {
  return fp8::Workspace(fp8::shape_of(fp8::without_unseen_keys(problem))).bytes;
}

void attention_fp8(const AttentionProblem& problem, void* workspace, cudaStream_t stream) {
  const AttentionProblem seen = fp8::without_unseen_keys(problem);
  const fp8::QuantizeArguments arguments = fp8::quantize_arguments(seen, workspace);
  quantize(arguments, stream);
  // A key has half the bytes that schedule_for reckons with.
  const hopper::AttentionSchedule schedule =
      hopper::schedule_for((seen.keys() + 1) / 2, (seen.sliding_window + 1) / 2, hopper::multiprocessors(kWhere));
  with_config(seen.head_dim, [&](auto config) {
    launch<decltype(config)>(seen, arguments, schedule, stream);
    return true;
  });
}

}  // namespace longrope::kernels::cuda
