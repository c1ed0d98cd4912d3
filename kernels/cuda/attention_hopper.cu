// Which configuration of the Hopper attention kernel solves which problem.
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_hopper_launch.cuh"

namespace longrope::kernels::cuda {
namespace {

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

}  // namespace

bool attention_hopper_supports(const AttentionProblem& problem) {
  constexpr std::int64_t kMostKeys = std::int64_t{1} << 30;  // TMA coordinates are 32-bit
  const bool shape = problem.rows > 0 && problem.first_position >= 0 && problem.keys() <= kMostKeys &&
                     problem.kv_heads > 0 && problem.heads % problem.kv_heads == 0;
  return shape && hopper::is_hopper() && tensor_maps_available() && with_config(problem.head_dim, [](auto config) {
           return hopper::kernel_present(hopper::attention_hopper_kernel<decltype(config)>);
         });
}

void attention_hopper(const AttentionProblem& problem, cudaStream_t stream) {
  constexpr const char* kWhere = "attention_hopper";
  int device = 0;
  int multiprocessors = 0;
  check(cudaGetDevice(&device), kWhere);
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), kWhere);
  const hopper::AttentionSchedule schedule =
      hopper::schedule_for(problem.keys(), problem.sliding_window, multiprocessors);
  with_config(problem.head_dim, [&](auto config) {
    hopper::launch<decltype(config)>(problem, schedule, stream);
    return true;
  });
}

}  // namespace longrope::kernels::cuda
