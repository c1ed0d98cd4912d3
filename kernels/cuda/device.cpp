#include "kernels/cuda/device.hpp"

#include <limits>
#include <string>

#include "kernels/check.hpp"
#include "kernels/cuda/check.hpp"

namespace longrope::kernels {

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // no driver, or no device: nothing to use
  return 0;
}

DeviceInfo cuda_device_info(int device) {
  const int count = cuda_device_count();
  require(device >= 0 && device < count, "cuda", ("device must be below " + std::to_string(count)).c_str(), device);
  cudaDeviceProp properties{};
  cuda::check(cudaGetDeviceProperties(&properties, device), "device_info");
  cuda::check(cudaSetDevice(device), "device_info");
  return {properties.name, static_cast<std::int64_t>(properties.totalGlobalMem), cuda::free_bytes(device)};
}

namespace cuda {
namespace {

int device_attribute(cudaDeviceAttr attribute, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device), "device");
  return value;
}

cudaMemPool_t pool_of(int device) {
  cudaMemPool_t pool = nullptr;
  check(cudaDeviceGetDefaultMemPool(&pool, device), "device memory");
  return pool;
}

}  // namespace

std::int64_t free_bytes(int device) {
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "device memory");
  std::uint64_t reserved = 0;
  std::uint64_t used = 0;
  check(cudaMemPoolGetAttribute(pool_of(device), cudaMemPoolAttrReservedMemCurrent, &reserved), "device memory");
  check(cudaMemPoolGetAttribute(pool_of(device), cudaMemPoolAttrUsedMemCurrent, &used), "device memory");
  return static_cast<std::int64_t>(free + (reserved - used));
}

Device::Device(int id) : id_(id) {
  const int count = cuda_device_count();
  if (count == 0) throw InputError("[backend] this machine has no CUDA device (use --backend cpu)");
  require(id >= 0 && id < count, "cuda", ("device must be below " + std::to_string(count)).c_str(), id);
  capability_ = 10 * device_attribute(cudaDevAttrComputeCapabilityMajor, id) +
                device_attribute(cudaDevAttrComputeCapabilityMinor, id);
  if (capability_ < 80) {
    throw InputError("[backend] a CUDA device must be of compute capability 8.0 or higher but got " +
                     std::to_string(capability_ / 10) + "." + std::to_string(capability_ % 10) +
                     " (use --backend cpu)");
  }
  use();
  std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();  // freed memory stays in the pool for the next window
  check(cudaMemPoolSetAttribute(pool_of(id), cudaMemPoolAttrReleaseThreshold, &keep), "device memory");
}

void Device::use() const { check(cudaSetDevice(id_), "device"); }

DeviceMemory Device::allocate(std::int64_t bytes) const {
  require(bytes >= 0, "allocate", "a size must not be negative", bytes);
  use();
  const std::size_t size = bytes == 0 ? 1 : static_cast<std::size_t>(bytes);
  void* memory = nullptr;
  cudaError_t status = cudaMallocAsync(&memory, size, stream());
  if (status == cudaErrorMemoryAllocation) {  // the pool may hold it in pieces: give those back and try again
    cudaGetLastError();
    check(cudaDeviceSynchronize(), "allocate");
    check(cudaMemPoolTrimTo(pool_of(id_), 0), "allocate");
    status = cudaMallocAsync(&memory, size, stream());
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw RuntimeError("[allocate] device memory must suffice but " + std::to_string(bytes) + " bytes were asked and " +
                       std::to_string(free_bytes(id_)) + " are free on CUDA device " + std::to_string(id_));
  }
  check(status, "allocate");
  return {memory, [device = id_](void* pointer) {
            if (cudaSetDevice(device) == cudaSuccess) cudaFreeAsync(pointer, stream());
          }};
}

void Device::finish(const char* where) const {
  use();
  check(cudaStreamSynchronize(stream()), where);
}

}  // namespace cuda
}  // namespace longrope::kernels
