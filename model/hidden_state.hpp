// The residual stream of one window, float32 [tokens, hidden], visited chunk by chunk: in device memory as a whole, or
// in host memory and brought through two device chunks, one of which travels while the other is worked on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/backend.hpp"

namespace longrope::model {

class HiddenState {
 public:
  /// What a visit does to the rows: those of a `write` hold nothing yet, those of a `read` are not kept.
  enum class Access : std::uint8_t { write, update, read };
  /// One chunk: its first row, and the rows in device memory.
  using Visit = std::function<void(std::int64_t first, kernels::Matrix rows)>;

  /// tokens, hidden >= 1; chunk_tokens >= 1. The backend must outlive this. Used by one thread, the one that made it.
  HiddenState(const kernels::Backend& backend, std::int64_t tokens, std::int64_t hidden, std::int64_t chunk_tokens,
              bool on_host);

  /// Visits rows [first, first + count) in order, chunk_tokens at a time, the last chunk shorter.
  void for_each_chunk(std::int64_t first, std::int64_t count, Access access, const Visit& visit);

 private:
  kernels::Matrix host_rows(std::int64_t first, std::int64_t count) const;
  void stream(std::int64_t first, std::int64_t count, Access access, const Visit& visit);

  std::int64_t hidden_;
  std::int64_t chunk_tokens_;
  kernels::DeviceMemory device_;                ///< [tokens, hidden], or two chunks
  kernels::DeviceMemory host_;                  ///< [tokens, hidden] where it lives there; else null
  std::int64_t left_[2] = {-1, -1};             ///< per device chunk: the last copy out of it; -1: none
  std::unique_ptr<kernels::CopyQueue> copies_;  ///< last: waits for its copies before the memory goes
};

}  // namespace longrope::model
