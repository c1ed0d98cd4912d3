// 64-byte aligned host memory: owned buffers, and scratch that each thread keeps between calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "kernels/error.hpp"

namespace longrope::kernels {

inline constexpr std::int64_t kAlignment = 64;

inline constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Uninitialised, 64-byte aligned; freed on destruction. Throws RuntimeError when there is not enough memory.
inline std::shared_ptr<void> allocate_aligned(std::int64_t bytes) {
  if (bytes < 0) throw InputError("[allocate] a size must not be negative but got " + std::to_string(bytes) + " bytes");
  const std::int64_t padded = bytes > INT64_MAX - kAlignment ? -1 : round_up(bytes == 0 ? 1 : bytes, kAlignment);
  void* memory = padded < 0 ? nullptr : std::aligned_alloc(kAlignment, static_cast<std::size_t>(padded));
  if (memory == nullptr) {
    throw RuntimeError("[allocate] memory must suffice but " + std::to_string(bytes) + " bytes were not to be had");
  }
  return {memory, [](void* pointer) { std::free(pointer); }};
}

/// Scratch of the calling thread; grows, never shrinks before the thread ends. `Tag` keeps users apart: what one user
/// holds stays valid until the same user asks again on the same thread.
template <class Tag>
void* thread_scratch(std::int64_t bytes) {
  thread_local std::shared_ptr<void> memory;
  thread_local std::int64_t capacity = 0;
  if (bytes > capacity || memory == nullptr) {
    memory.reset();
    capacity = 0;
    memory = allocate_aligned(bytes);
    capacity = bytes;
  }
  return memory.get();
}

}  // namespace longrope::kernels
