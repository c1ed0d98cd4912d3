// cuDNN's graph ("backend") C API, found at run time: the program runs, without this route, where the library is
// absent. The library is looked up by the loader's ordinary search (LD_LIBRARY_PATH, RUNPATH, ld.so.cache), nowhere
// else.
#pragma once

#include <cudnn_graph.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace longrope::kernels::cuda {

/// The entry points this project calls, or the reason there are none. Opened once per process, never closed.
class CudnnApi {
 public:
  /// The process's libcudnn.so.9. Never throws: usable() says whether it can be called.
  static const CudnnApi& instance();

  /// Opens `library` (a name for dlopen). Never throws.
  explicit CudnnApi(const char* library) noexcept;

  bool usable() const { return reason_.empty(); }
  /// Why the library cannot be used, in the loader's words; empty when it can.
  const std::string& reason() const { return reason_; }
  /// major * 10000 + minor * 100 + patch of the library found; 0 without one.
  std::size_t version() const { return version_; }

  /// Throws RuntimeError "[where] cuDNN must succeed but got STATUS: TEXT" unless status is CUDNN_STATUS_SUCCESS.
  void check(cudnnStatus_t status, const char* where) const;

  // Preconditions of all: usable().
  decltype(&cudnnCreate) create_handle = nullptr;
  decltype(&cudnnDestroy) destroy_handle = nullptr;
  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
  decltype(&cudnnBackendSetAttribute) set_attribute = nullptr;
  decltype(&cudnnBackendGetAttribute) get_attribute = nullptr;
  decltype(&cudnnBackendFinalize) finalize = nullptr;
  decltype(&cudnnBackendExecute) execute = nullptr;

 private:
  decltype(&cudnnGetVersion) get_version_ = nullptr;
  decltype(&cudnnGetErrorString) error_string_ = nullptr;
  decltype(&cudnnGetLastErrorString) last_error_string_ = nullptr;
  std::size_t version_ = 0;
  std::string reason_;
};

/// A backend descriptor: created, given attributes, finalised. Move-only; the api outlives it.
/// Every member throws RuntimeError with cuDNN's words when the library refuses.
class CudnnDescriptor {
 public:
  CudnnDescriptor(const CudnnApi& api, cudnnBackendDescriptorType_t type, const char* where);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept;
  CudnnDescriptor& operator=(CudnnDescriptor&&) = delete;
  CudnnDescriptor(const CudnnDescriptor&) = delete;
  CudnnDescriptor& operator=(const CudnnDescriptor&) = delete;

  cudnnBackendDescriptor_t get() const { return descriptor_; }

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count, const void* values);
  void set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values);
  void set(cudnnBackendAttributeName_t name, bool value);
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value);
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value);
  void finalize();

  std::int64_t get_int64(cudnnBackendAttributeName_t name) const;
  /// Empty where the descriptor does not offer the attribute.
  std::string get_text(cudnnBackendAttributeName_t name) const;

 private:
  const CudnnApi* api_;
  const char* where_;
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

}  // namespace longrope::kernels::cuda
