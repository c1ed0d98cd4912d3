// Copies beside a thread's other work: a stream of its own, ordered with the thread's stream by events.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/cuda/device.hpp"

namespace longrope::kernels::cuda {

class CudaCopyQueue final : public CopyQueue {
 public:
  explicit CudaCopyQueue(const Device& device);
  ~CudaCopyQueue() override;
  CudaCopyQueue(const CudaCopyQueue&) = delete;
  CudaCopyQueue& operator=(const CudaCopyQueue&) = delete;

  std::int64_t to_device(ConstMatrix host, Matrix device) override;
  std::int64_t to_host(ConstMatrix device, Matrix host) override;
  void await(std::int64_t copy) override;

 private:
  static constexpr std::int64_t kRemembered =
      4;  ///< copies with an event of their own; older ones end with a later one
  std::int64_t copy(ConstMatrix from, Matrix to, cudaMemcpyKind kind);
  void release();

  const Device& device_;
  cudaStream_t copies_ = nullptr;
  cudaEvent_t asked_ = nullptr;  ///< on the thread's stream, before a copy
  std::array<cudaEvent_t, kRemembered> done_{};
  std::int64_t count_ = 0;
};

/// Host memory that the device copies from and to by itself. Throws RuntimeError when there is not enough.
HostMemory allocate_page_locked(const Device& device, std::int64_t bytes);

}  // namespace longrope::kernels::cuda
