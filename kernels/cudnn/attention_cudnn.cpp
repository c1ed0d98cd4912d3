#include "kernels/cuda/attention_cudnn.hpp"

#include <cstdint>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/cuda/attention_cudnn_shape.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cudnn/attention_plan.hpp"
#include "kernels/cudnn/attention_trial.hpp"
#include "kernels/error.hpp"

namespace longrope::kernels::cuda {

namespace {

constexpr const char* kWhere = "attention";
// Plans kept for one device, those used last: a 2M-token window in chunks of 16384 rows needs 128.
constexpr std::size_t kMostPlans = 256;

// cuDNN on one device: its handle, and the plans in use. A mutex serialises the threads of that device: they
// share the handle, which holds the stream, and a run only enqueues.
class DeviceCudnn {
 public:
  explicit DeviceCudnn(const CudnnApi& api) : api_(api) { api_.check(api_.create_handle(&handle_), kWhere); }
  ~DeviceCudnn() { api_.destroy_handle(handle_); }
  DeviceCudnn(const DeviceCudnn&) = delete;
  DeviceCudnn& operator=(const DeviceCudnn&) = delete;

  std::string refusal(const CudnnAttentionShape& shape) {
    const std::lock_guard lock(mutex_);
    if (const auto known = refusals_.find(shape); known != refusals_.end()) return known->second;
    try {
      std::string found = trial(cudnn_attention_family(shape));
      if (found.empty()) plan(shape);
      return found;
    } catch (const RuntimeError& error) {
      return refusals_.emplace(shape, error.what()).first->second;
    }
  }

  void run(const AttentionProblem& problem, cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    enqueue(problem, stream);
  }

 private:
  void enqueue(const AttentionProblem& problem, cudaStream_t stream) {
    const CudnnAttentionShape shape = cudnn_attention_shape(problem);
    const CudnnAttentionPlan& compiled = plan(shape);
    const std::int64_t hidden = cudnn_attention_hidden_keys(problem) * problem.kv_heads * problem.head_dim;
    CudnnAttentionPointers pointers{.q = problem.q,
                                    .k = static_cast<const std::uint16_t*>(problem.k) + hidden,
                                    .v = static_cast<const std::uint16_t*>(problem.v) + hidden,
                                    .out = problem.out,
                                    .workspace = nullptr};
    api_.check(api_.set_stream(handle_, stream), kWhere);
    const std::int64_t bytes = compiled.workspace_bytes();
    if (bytes > 0) check(cudaMallocAsync(&pointers.workspace, static_cast<std::size_t>(bytes), stream), kWhere);
    try {
      compiled.run(handle_, pointers);
    } catch (...) {
      if (bytes > 0) cudaFreeAsync(pointers.workspace, stream);
      throw;
    }
    if (bytes > 0) check(cudaFreeAsync(pointers.workspace, stream), kWhere);
  }

  // What the family's trial found, made once: empty when cuDNN computes attention.
  const std::string& trial(const CudnnAttentionFamily& family) {
    if (const auto known = trials_.find(family); known != trials_.end()) return known->second;
    std::string found;
    try {
      found = cudnn_attention_trial(
          family, [this](const AttentionProblem& problem, cudaStream_t stream) { enqueue(problem, stream); });
    } catch (const RuntimeError& error) {
      found = error.what();
    }
    return trials_.emplace(family, std::move(found)).first->second;
  }

  const CudnnAttentionPlan& plan(const CudnnAttentionShape& shape) {
    const auto found = places_.find(shape);
    if (found != places_.end()) {
      plans_.splice(plans_.begin(), plans_, found->second);
      return plans_.front().plan;
    }
    CudnnAttentionPlan compiled(api_, CudnnTarget{.handle = handle_}, shape);
    if (plans_.size() >= kMostPlans) {
      check(cudaDeviceSynchronize(), kWhere);  // it may still be running
      places_.erase(plans_.back().shape);
      plans_.pop_back();
    }
    plans_.push_front({shape, std::move(compiled)});
    places_[shape] = plans_.begin();
    return plans_.front().plan;
  }

  struct ShapePlan {
    CudnnAttentionShape shape;
    CudnnAttentionPlan plan;
  };

  const CudnnApi& api_;
  cudnnHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::list<ShapePlan> plans_;  // the one used last comes first
  std::map<CudnnAttentionShape, std::list<ShapePlan>::iterator> places_;
  std::map<CudnnAttentionShape, std::string> refusals_;
  std::map<CudnnAttentionFamily, std::string> trials_;
};

// The current device's state, made at its first use. The states are a cache that outlives every caller and are never
// destroyed: at exit the CUDA driver may be gone before them.
DeviceCudnn& device_cudnn() {
  static std::mutex mutex;
  static auto& states = *new std::map<int, std::unique_ptr<DeviceCudnn>>;
  int device = 0;
  check(cudaGetDevice(&device), kWhere);
  const std::lock_guard lock(mutex);
  std::unique_ptr<DeviceCudnn>& state = states[device];
  if (state == nullptr) state = std::make_unique<DeviceCudnn>(CudnnApi::instance());
  return *state;
}

}  // namespace

std::string attention_cudnn_refusal(const AttentionProblem& problem) {
  try {
    std::string refusal = cudnn_attention_rule(problem);
    if (refusal.empty()) refusal = CudnnApi::instance().reason();
    if (refusal.empty()) refusal = device_cudnn().refusal(cudnn_attention_shape(problem));
    return refusal;
  } catch (const std::exception& error) {
    return error.what();
  }
}

bool attention_cudnn_supports(const AttentionProblem& problem) { return attention_cudnn_refusal(problem).empty(); }

void attention_cudnn(const AttentionProblem& problem, cudaStream_t stream) { device_cudnn().run(problem, stream); }

}  // namespace longrope::kernels::cuda
