#include "kernels/cudnn/library.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/error.hpp"

namespace longrope::kernels::cuda {

namespace {

constexpr std::size_t kOldestVersion = 90000;  // the graph patterns below are those of cuDNN 9

template <typename Function>
bool resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

CudnnApi::CudnnApi(const char* library_name) noexcept {
  void* library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* text = dlerror();
    reason_ = text != nullptr ? text : "dlopen failed";
    return;
  }
  const bool complete =
      resolve(library, "cudnnCreate", create_handle) && resolve(library, "cudnnDestroy", destroy_handle) &&
      resolve(library, "cudnnSetStream", set_stream) &&
      resolve(library, "cudnnBackendCreateDescriptor", create_descriptor) &&
      resolve(library, "cudnnBackendDestroyDescriptor", destroy_descriptor) &&
      resolve(library, "cudnnBackendSetAttribute", set_attribute) &&
      resolve(library, "cudnnBackendGetAttribute", get_attribute) &&
      resolve(library, "cudnnBackendFinalize", finalize) && resolve(library, "cudnnBackendExecute", execute) &&
      resolve(library, "cudnnGetVersion", get_version_) && resolve(library, "cudnnGetErrorString", error_string_) &&
      resolve(library, "cudnnGetLastErrorString", last_error_string_);
  if (!complete) {
    reason_ = std::string(library_name) + " lacks part of the graph API";
    return;
  }
  version_ = get_version_();
  if (version_ < kOldestVersion) {
    reason_ = "cuDNN must be 9.0 or newer but got version " + std::to_string(version_);
  }
}

const CudnnApi& CudnnApi::instance() {
  static const CudnnApi api("libcudnn.so.9");
  return api;
}

void CudnnApi::check(cudnnStatus_t status, const char* where) const {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 1024> text{};
  last_error_string_(text.data(), text.size());
  throw RuntimeError("[" + std::string(where) + "] cuDNN must succeed but got " + error_string_(status) + ": " +
                     text.data());
}

CudnnDescriptor::CudnnDescriptor(const CudnnApi& api, cudnnBackendDescriptorType_t type, const char* where)
    : api_(&api), where_(where) {
  api_->check(api_->create_descriptor(type, &descriptor_), where_);
}

CudnnDescriptor::~CudnnDescriptor() {
  if (descriptor_ != nullptr) api_->destroy_descriptor(descriptor_);
}

CudnnDescriptor::CudnnDescriptor(CudnnDescriptor&& other) noexcept
    : api_(other.api_), where_(other.where_), descriptor_(std::exchange(other.descriptor_, nullptr)) {}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                          const void* values) {
  api_->check(api_->set_attribute(descriptor_, name, type, count, values), where_);
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values) {
  set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, bool value) { set(name, CUDNN_TYPE_BOOLEAN, 1, &value); }

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
  set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.descriptor_);
}

void CudnnDescriptor::finalize() { api_->check(api_->finalize(descriptor_), where_); }

std::int64_t CudnnDescriptor::get_int64(cudnnBackendAttributeName_t name) const {
  std::int64_t value = 0;
  std::int64_t count = 0;
  api_->check(api_->get_attribute(descriptor_, name, CUDNN_TYPE_INT64, 1, &count, &value), where_);
  return value;
}

std::string CudnnDescriptor::get_text(cudnnBackendAttributeName_t name) const {
  std::int64_t size = 0;
  if (api_->get_attribute(descriptor_, name, CUDNN_TYPE_CHAR, 0, &size, nullptr) != CUDNN_STATUS_SUCCESS) return {};
  std::string text(static_cast<std::size_t>(size), '\0');
  if (api_->get_attribute(descriptor_, name, CUDNN_TYPE_CHAR, size, &size, text.data()) != CUDNN_STATUS_SUCCESS) {
    return {};
  }
  text.resize(std::min(text.size(), static_cast<std::size_t>(size)));
  return text;
}

}  // namespace longrope::kernels::cuda
