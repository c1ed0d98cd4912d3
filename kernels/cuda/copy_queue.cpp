#include "kernels/cuda/copy_queue.hpp"

#include <algorithm>
#include <string>

#include "kernels/check.hpp"
#include "kernels/cuda/check.hpp"

namespace longrope::kernels::cuda {

CudaCopyQueue::CudaCopyQueue(const Device& device) : device_(device) {
  device_.use();
  try {
    check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "copy");
    check(cudaEventCreateWithFlags(&asked_, cudaEventDisableTiming), "copy");
    for (cudaEvent_t& event : done_) check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "copy");
  } catch (...) {
    release();
    throw;
  }
}

CudaCopyQueue::~CudaCopyQueue() {
  if (cudaSetDevice(device_.id()) == cudaSuccess) release();
}

void CudaCopyQueue::release() {
  if (copies_ != nullptr) cudaStreamSynchronize(copies_);
  for (cudaEvent_t event : done_) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  if (asked_ != nullptr) cudaEventDestroy(asked_);
  if (copies_ != nullptr) cudaStreamDestroy(copies_);
}

std::int64_t CudaCopyQueue::copy(ConstMatrix from, Matrix to, cudaMemcpyKind kind) {
  require_matrix(to, "copy", "the destination", from.rows, from.cols, from.dtype);
  device_.use();
  check(cudaEventRecord(asked_, stream()), "copy");
  check(cudaStreamWaitEvent(copies_, asked_, 0), "copy");
  const auto bytes = static_cast<std::size_t>(from.rows * from.cols * bytes_of(from.dtype));
  check(cudaMemcpyAsync(to.data, from.data, bytes, kind, copies_), "copy");
  check(cudaEventRecord(done_[static_cast<std::size_t>(count_ % kRemembered)], copies_), "copy");
  return count_++;
}

std::int64_t CudaCopyQueue::to_device(ConstMatrix host, Matrix device) {
  return copy(host, device, cudaMemcpyHostToDevice);
}

std::int64_t CudaCopyQueue::to_host(ConstMatrix device, Matrix host) {
  return copy(device, host, cudaMemcpyDeviceToHost);
}

void CudaCopyQueue::await(std::int64_t copy) {
  require(copy >= 0 && copy < count_, "copy", "a copy that is awaited must have been asked for", copy);
  device_.use();
  const std::int64_t remembered = std::max(copy, count_ - kRemembered);
  check(cudaStreamWaitEvent(stream(), done_[static_cast<std::size_t>(remembered % kRemembered)], 0), "copy");
}

HostMemory allocate_page_locked(const Device& device, std::int64_t bytes) {
  require(bytes >= 0, "allocate", "a size must not be negative", bytes);
  device.use();
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, bytes == 0 ? 1 : static_cast<std::size_t>(bytes), 0);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw RuntimeError("[allocate] page-locked host memory must suffice but " + std::to_string(bytes) +
                       " bytes were not to be had");
  }
  check(status, "allocate");
  return {memory, [](void* pointer) { cudaFreeHost(pointer); }};
}

}  // namespace longrope::kernels::cuda
