// Host side of the Hopper loss kernel.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/hopper_host.cuh"
#include "kernels/cuda/loss.hpp"
#include "kernels/cuda/loss_hopper_kernel.cuh"
#include "kernels/cuda/tensor_map.hpp"

namespace longrope::kernels::cuda {
namespace {

constexpr const char* kWhere = "nll";

CUtensorMap map_of(const void* data, std::int64_t rows, std::int64_t columns) {
  return make_tensor_map(data, {{columns, 1, rows}, {hopper::kPanelColumns, 1, 128}}, kWhere);
}

/// One block of rows.
void launch(const hopper::LossArguments& arguments) {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = hopper::kLossCluster;
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t launch{};
  launch.gridDim = dim3(hopper::kLossCluster);
  launch.blockDim = dim3(hopper::kLossThreads);
  launch.dynamicSmemBytes = hopper::kLossSharedBytes;
  launch.stream = stream();
  launch.attrs = &cluster;
  launch.numAttrs = 1;
  int resident = 0;  // clusters: not all multiprocessors have a free neighbour
  check(cudaOccupancyMaxActiveClusters(&resident, hopper::loss_hopper_kernel, &launch), kWhere);
  const std::int64_t clusters = std::min<std::int64_t>(arguments.order.tiles(), std::max(resident, 1));
  launch.gridDim = dim3(static_cast<unsigned>(clusters * hopper::kLossCluster));
  check(cudaLaunchKernelEx(&launch, hopper::loss_hopper_kernel, arguments), kWhere);
}

}  // namespace

bool loss_hopper_supports(const LossProblem& problem) {
  // TMA coordinates are 32-bit; and partials of more entries would take more memory than a tile of logits.
  constexpr std::int64_t kMostEntries = std::int64_t{1} << 20;
  constexpr std::int64_t kMostColumns = std::int64_t{1} << 30;
  return problem.vocabulary <= kMostEntries && problem.columns % 8 == 0 && problem.columns <= kMostColumns &&
         hopper::is_hopper() && tensor_maps_available() && hopper::kernel_present(hopper::loss_hopper_kernel);
}

void loss_hopper(const Context& context, const LossProblem& problem) {
  const std::int64_t block = std::min(problem.rows, kLossRows);
  const hopper::LossOrder whole(block, problem.vocabulary);
  const DeviceMemory partials =
      context.device.allocate(block * whole.column_tiles * static_cast<std::int64_t>(sizeof(LogitPartial)));
  const DeviceMemory target_logits = context.device.allocate(block * bytes_of(DType::f32));
  check(cudaFuncSetAttribute(hopper::loss_hopper_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(hopper::kLossSharedBytes)),
        kWhere);
  for (std::int64_t begin = 0; begin < problem.rows; begin += block) {
    const std::int64_t rows = std::min(block, problem.rows - begin);
    const auto* x = static_cast<const char*>(problem.x) + begin * problem.columns * bytes_of(DType::bf16);
    launch({.x = map_of(x, rows, problem.columns),
            .weight = map_of(problem.weight, problem.vocabulary, problem.columns),
            .targets = problem.targets + begin,
            .partials = as<LogitPartial>(partials),
            .target_logits = as<float>(target_logits),
            .rows = rows,
            .vocabulary = problem.vocabulary,
            .order = hopper::LossOrder(rows, problem.vocabulary),
            .steps = static_cast<int>((problem.columns + hopper::kPanelColumns - 1) / hopper::kPanelColumns)});
    launch_combine_partials(as<const LogitPartial>(partials), as<const float>(target_logits), rows, whole.column_tiles,
                            problem.nll + begin, stream());
  }
}

}  // namespace longrope::kernels::cuda
