#include "kernels/cudnn/attention_plan.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/cudnn/attention_graph.hpp"
#include "kernels/error.hpp"

namespace longrope::kernels::cuda {

namespace {

constexpr const char* kWhere = "attention";
constexpr std::int64_t kMostEngines = 16;  // as many of the heuristic's proposals as are tried

// The engine configurations cuDNN proposes, best first.
std::vector<CudnnDescriptor> propose_engines(const CudnnApi& api, const CudnnTarget& target,
                                             const CudnnDescriptor& operation_graph) {
  CudnnDescriptor heuristic(api, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, kWhere);
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operation_graph);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (target.device_properties != nullptr) {
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.device_properties);
  }
  heuristic.finalize();

  std::vector<CudnnDescriptor> engines;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::int64_t i = 0; i < kMostEngines; ++i) {
    raw.push_back(engines.emplace_back(api, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, kWhere).get());
  }
  std::int64_t count = 0;
  api.check(api.get_attribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                              kMostEngines, &count, raw.data()),
            kWhere);
  while (static_cast<std::int64_t>(engines.size()) > count) engines.pop_back();
  return engines;
}

// A kernel that takes the address of a tensor between the operations would be given none and read or write anywhere:
// cuDNN 9.19 compiles such kernels without a word. An engine that does not describe its plans is trusted.
void refuse_internal_arguments(const CudnnDescriptor& plan, const std::vector<std::int64_t>& internal_uids) {
  for (const std::int64_t uid : cudnn_kernel_uids(plan.get_text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION))) {
    if (std::find(internal_uids.begin(), internal_uids.end(), uid) == internal_uids.end()) continue;
    throw RuntimeError("[attention] a cuDNN kernel must take what a run supplies but got tensor " +
                       std::to_string(uid) + ", which has no memory");
  }
}

}  // namespace

std::vector<std::int64_t> cudnn_kernel_uids(std::string_view plan) {
  constexpr std::string_view kParameters = "\"kernelParams\"";
  constexpr std::string_view kUid = "\"uid\":";
  std::vector<std::int64_t> uids;
  std::size_t at = plan.find(kParameters);
  while (at != std::string_view::npos && (at = plan.find(kUid, at)) != std::string_view::npos) {
    at += kUid.size();
    std::int64_t uid = 0;
    const auto read = std::from_chars(plan.data() + at, plan.data() + plan.size(), uid);
    if (read.ec == std::errc()) uids.push_back(uid);
  }
  return uids;
}

CudnnAttentionPlan::CudnnAttentionPlan(const CudnnApi& api, const CudnnTarget& target, const CudnnAttentionShape& shape)
    : api_(&api) {
  CudnnAttentionGraph graph = build_cudnn_attention_graph(api, target, shape);
  std::string refusals;
  for (CudnnDescriptor& engine : propose_engines(api, target, graph.operation_graph())) {
    try {
      CudnnDescriptor plan(api, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, kWhere);
      if (target.handle != nullptr) {
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
      }
      if (target.device_properties != nullptr) {
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.device_properties);
      }
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine);
      plan.finalize();
      refuse_internal_arguments(plan, graph.internal_uids);
      workspace_bytes_ = plan.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
      plan_.push_back(std::move(plan));
      graph.descriptors.push_back(std::move(engine));
      break;
    } catch (const RuntimeError& error) {
      refusals += std::string("; ") + error.what();
    }
  }
  if (plan_.empty()) {
    throw RuntimeError("[attention] a cuDNN engine must compile the graph but got none (cuDNN " +
                       std::to_string(api.version()) + refusals + ")");
  }
  graph_ = std::move(graph.descriptors);
  for (const CudnnScalar& scalar : graph.scalars) {
    scalar_uids_.push_back(scalar.uid);
    scalar_values_.push_back(scalar.bytes);
  }
}

void CudnnAttentionPlan::run(cudnnHandle_t handle, const CudnnAttentionPointers& pointers) const {
  std::vector<std::int64_t> uids = {kUidQ, kUidK, kUidV, kUidOut};
  std::vector<const void*> data = {pointers.q, pointers.k, pointers.v, pointers.out};
  for (std::size_t i = 0; i < scalar_uids_.size(); ++i) {
    uids.push_back(scalar_uids_[i]);
    data.push_back(scalar_values_[i].data());
  }
  CudnnDescriptor pack(*api_, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, kWhere);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, uids);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, static_cast<std::int64_t>(data.size()),
           data.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &pointers.workspace);
  pack.finalize();
  api_->check(api_->execute(handle, plan_.front().get(), pack.get()), kWhere);
}

}  // namespace longrope::kernels::cuda
