// Copies at once: the device is the host.
#pragma once

#include <cstring>

#include "kernels/backend.hpp"
#include "kernels/check.hpp"

namespace longrope::kernels {

class CpuCopyQueue final : public CopyQueue {
 public:
  std::int64_t to_device(ConstMatrix host, Matrix device) override { return copy(host, device); }
  std::int64_t to_host(ConstMatrix device, Matrix host) override { return copy(device, host); }
  void await(std::int64_t copy) override {
    require(copy >= 0 && copy < copies_, "copy", "a copy that is awaited must have been asked for", copy);
  }

 private:
  std::int64_t copy(ConstMatrix from, Matrix to) {
    require_matrix(to, "copy", "the destination", from.rows, from.cols, from.dtype);
    std::memcpy(to.data, from.data, static_cast<std::size_t>(from.rows * from.cols * bytes_of(from.dtype)));
    return copies_++;
  }

  std::int64_t copies_ = 0;
};

}  // namespace longrope::kernels
