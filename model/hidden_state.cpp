#include "model/hidden_state.hpp"

#include <algorithm>

namespace longrope::model {

using kernels::DType;
using kernels::Matrix;

HiddenState::HiddenState(const kernels::Backend& backend, std::int64_t tokens, std::int64_t hidden,
                         std::int64_t chunk_tokens, bool on_host)
    : hidden_(hidden), chunk_tokens_(std::min(tokens, chunk_tokens)) {
  const std::int64_t row_bytes = hidden * kernels::bytes_of(DType::f32);
  device_ = backend.allocate((on_host ? 2 * chunk_tokens_ : tokens) * row_bytes);
  if (!on_host) return;
  host_ = backend.allocate_host(tokens * row_bytes);
  copies_ = backend.make_copy_queue();
}

Matrix HiddenState::host_rows(std::int64_t first, std::int64_t count) const {
  return Matrix{host_.get(), DType::f32, first + count, hidden_}.row_range(first, count);
}

void HiddenState::for_each_chunk(std::int64_t first, std::int64_t count, Access access, const Visit& visit) {
  if (host_ != nullptr) return stream(first, count, access, visit);
  const Matrix all{device_.get(), DType::f32, first + count, hidden_};
  for (std::int64_t done = 0; done < count; done += chunk_tokens_) {
    visit(first + done, all.row_range(first + done, std::min(chunk_tokens_, count - done)));
  }
}

void HiddenState::stream(std::int64_t first, std::int64_t count, Access access, const Visit& visit) {
  const std::int64_t chunks = (count + chunk_tokens_ - 1) / chunk_tokens_;
  const auto rows_of = [&](std::int64_t chunk) { return std::min(chunk_tokens_, count - chunk * chunk_tokens_); };
  const auto slot = [&](std::int64_t chunk) {
    const Matrix both{device_.get(), DType::f32, 2 * chunk_tokens_, hidden_};
    return both.row_range(chunk % 2 * chunk_tokens_, rows_of(chunk));
  };
  const auto host = [&](std::int64_t chunk) { return host_rows(first + chunk * chunk_tokens_, rows_of(chunk)); };
  std::int64_t arrived[2] = {-1, -1};
  const auto fetch = [&](std::int64_t chunk) {
    if (access != Access::write && chunk < chunks) arrived[chunk % 2] = copies_->to_device(host(chunk), slot(chunk));
  };
  fetch(0);
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    // Asked before this chunk's work, so it runs beside it. Its slot is free: what was worked on there has been asked
    // for, and its way back to the host comes earlier in the queue.
    fetch(chunk + 1);
    const std::int64_t needed = access == Access::write ? left_[chunk % 2] : arrived[chunk % 2];
    if (needed >= 0) copies_->await(needed);
    visit(first + chunk * chunk_tokens_, slot(chunk));
    if (access != Access::read) left_[chunk % 2] = copies_->to_host(slot(chunk), host(chunk));
  }
}

}  // namespace longrope::model
