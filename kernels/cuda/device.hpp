// One CUDA device: selected at every entry, memory from its stream-ordered pool, work on the calling thread's stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "kernels/backend.hpp"

namespace longrope::kernels::cuda {

/// The stream of everything a thread asks for; threads overlap on the device.
inline cudaStream_t stream() { return cudaStreamPerThread; }

class Device {
 public:
  /// Throws InputError unless 0 <= id < cuda_device_count() and the device is of compute capability 8.0 or higher.
  explicit Device(int id);

  int id() const { return id_; }
  int capability() const { return capability_; }  ///< 10 major + minor

  /// Makes this the calling thread's device. Every public operation starts with it.
  void use() const;

  /// Uninitialised, 256-byte aligned, ordered on the calling thread's stream; freed on the stream of the thread that
  /// drops it. Throws InputError if bytes < 0, RuntimeError with bytes asked and free when there is not enough.
  DeviceMemory allocate(std::int64_t bytes) const;

  /// Waits for the calling thread's stream. Throws RuntimeError if anything on it failed.
  void finish(const char* where) const;

 private:
  int id_;
  int capability_ = 0;
};

/// Free bytes of the current device, with what its pool keeps for reuse.
std::int64_t free_bytes(int device);

/// `memory` as a pointer to T.
template <class T>
T* as(const DeviceMemory& memory) {
  return static_cast<T*>(memory.get());
}

}  // namespace longrope::kernels::cuda
