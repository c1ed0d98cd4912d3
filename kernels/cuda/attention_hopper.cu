// Which configuration of the Hopper attention kernel solves which problem.
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_hopper_kernel.cuh"
#include "kernels/cuda/attention_hopper_launch.cuh"

namespace longrope::kernels::cuda {
namespace {

constexpr const char* kWhere = "attention_hopper";

// The fastest of 15 on an H200. TFLOP/s, causal, heads 32/8 (head_dim 256: 16/8): median and best of five runs.
//   head_dim  rows x keys: 8k x 8k    32k x 32k    16k x 128k
//   64                     489, 493   566, 566     523, 525
//   128                    689, 693   655, 725     657, 662
//   256                               676, 726
// With three warpgroups a block reads K and V a third less often than with two. At head_dim 128 they leave 160
// registers a thread, too few for two tiles of scores beside the output, and still won against two that overlap.
using Narrow = hopper::AttentionConfig<64, 128, 3, 2, true>;
using Middle = hopper::AttentionConfig<128, 128, 3, 2, false>;
using Wide = hopper::AttentionConfig<256, 64, 2, 2, true>;

/// Calls `use` with the configuration for a head_dim; false where there is none.
template <class Use>
bool with_config(std::int64_t head_dim, Use&& use) {
  switch (head_dim) {
    case 64:
      return use(Narrow{});
    case 96:  // as 128, the last 32 columns zeros
    case 128:
      return use(Middle{});
    case 256:
      return use(Wide{});
    default:
      return false;
  }
}

/// Preconditions: head_dim <= Config::kHeadDim, a multiple of 8; keys below 2^30.
template <class Config>
void launch(const AttentionProblem& problem, const hopper::AttentionSchedule& schedule, cudaStream_t stream) {
  using hopper::kPanelColumns;
  const TensorMapShape q{{problem.head_dim, problem.heads, problem.rows}, {kPanelColumns, 1, Config::kTileRows}};
  const TensorMapShape kv{{problem.head_dim, problem.kv_heads, problem.keys()}, {kPanelColumns, 1, Config::kTileKeys}};
  hopper::AttentionArguments arguments = hopper::arguments_of<Config>(problem, schedule);
  arguments.q = make_tensor_map(problem.q, q, kWhere);
  arguments.k = make_tensor_map(problem.k, kv, kWhere);
  arguments.v = make_tensor_map(problem.v, kv, kWhere);
  hopper::launch_blocks<Config>(hopper::attention_hopper_kernel<Config>, arguments, arguments.order.tiles, schedule,
                                kWhere, stream);
}

}  // namespace

bool attention_hopper_supports(const AttentionProblem& problem) {
  return hopper::can_attend(problem) && with_config(problem.head_dim, [](auto config) {
           return hopper::kernel_present(hopper::attention_hopper_kernel<decltype(config)>);
         });
}

void attention_hopper(const AttentionProblem& problem, cudaStream_t stream) {
  const hopper::AttentionSchedule schedule =
      hopper::schedule_for(problem.keys(), problem.sliding_window, hopper::multiprocessors(kWhere));
  with_config(problem.head_dim, [&](auto config) {
    launch<decltype(config)>(problem, schedule, stream);
    return true;
  });
}

}  // namespace longrope::kernels::cuda
