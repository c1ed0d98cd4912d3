// A CPU backend that counts what is allocated, copies as late as the contract allows, and fails when told to: what a
// GPU may do, on any machine.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.hpp"
#include "kernels/error.hpp"

namespace longrope::tests {

/// Runs a copy only when an operation, a later await or its own end forces it to.
class LateCopyQueue final : public kernels::CopyQueue {
 public:
  ~LateCopyQueue() override { run_until(asked_); }
  std::int64_t to_device(kernels::ConstMatrix host, kernels::Matrix device) override { return ask(host, device); }
  std::int64_t to_host(kernels::ConstMatrix device, kernels::Matrix host) override { return ask(device, host); }
  void await(std::int64_t copy) override {
    if (copy < 0 || copy >= asked_) throw InputError("[copy] this copy was not asked for");
    run_until(copy + 1);
  }

 private:
  struct Copy {
    kernels::ConstMatrix from;
    kernels::Matrix to;
  };
  std::int64_t ask(kernels::ConstMatrix from, kernels::Matrix to) {
    if (from.rows != to.rows || from.cols != to.cols || from.dtype != to.dtype)
      throw InputError("[copy] shapes differ");
    waiting_.push_back({from, to});
    return asked_++;
  }
  void run_until(std::int64_t copy) {
    for (; done_ < copy; ++done_) {
      const Copy& c = waiting_.front();
      std::memcpy(c.to.data, c.from.data,
                  static_cast<std::size_t>(c.from.rows * c.from.cols * kernels::bytes_of(c.from.dtype)));
      waiting_.pop_front();
    }
  }
  std::deque<Copy> waiting_;
  std::int64_t asked_ = 0;
  std::int64_t done_ = 0;
};

class WrappingBackend final : public kernels::Backend {
 public:
  explicit WrappingBackend(kernels::Precision precision = kernels::Precision::f32, bool late_copies = false)
      : inner_(kernels::make_cpu_backend(precision)), late_copies_(late_copies) {}

  /// After `operations` more attention calls every one throws RuntimeError; a device that is lost fails in everything.
  void fail_after(std::int64_t operations, bool lost) {
    lost_ = lost;
    left_ = operations;
  }
  /// What failed works again.
  void recover() {
    left_ = -1;
    failing_ = false;
  }
  /// From now on says, as a GPU does, that a row's bits depend on how many go with it: in attention, or everywhere.
  void make_rows_dependent(bool joinable = true) {
    rows_dependent_ = true;
    joinable_ = joinable;
  }
  /// What attention was asked since the last call of this, in order, by the buffers of K and V: {rows, first position}.
  std::map<const kernels::KvBuffer*, std::vector<std::pair<std::int64_t, std::int64_t>>> take_attention_chunks() const {
    const std::lock_guard lock(mutex_);
    return std::exchange(attention_chunks_, {});
  }
  std::int64_t attention_calls() const { return attention_calls_; }
  std::int64_t peak_device_bytes() const { return device_.peak; }
  std::int64_t peak_host_bytes() const { return host_.peak; }
  std::int64_t live_bytes() const { return device_.live + host_.live; }
  std::int64_t kv_capacity() const { return kv_capacity_; }
  std::int64_t kv_buffers() const { return kv_buffers_; }  ///< made so far
  /// Rows that went through projections to so many features.
  std::int64_t projected_rows(std::int64_t out_features) const {
    const std::lock_guard lock(mutex_);
    const auto found = projected_rows_.find(out_features);
    return found == projected_rows_.end() ? 0 : found->second;
  }

  std::string name() const override { return "wrapped"; }
  kernels::Precision precision() const override { return inner_->precision(); }
  kernels::DType activation_dtype() const override { return inner_->activation_dtype(); }
  kernels::DType projection_dtype() const override { return inner_->projection_dtype(); }
  std::int64_t preferred_chunk_tokens() const override { return inner_->preferred_chunk_tokens(); }
  bool rows_independent() const override { return !rows_dependent_ && inner_->rows_independent(); }
  bool rows_joinable() const override { return joinable_; }

  kernels::DeviceMemory allocate(std::int64_t bytes) const override {
    check();
    return device_.count(inner_->allocate(bytes), bytes);
  }
  kernels::HostMemory allocate_host(std::int64_t bytes) const override {
    return host_.count(inner_->allocate_host(bytes), bytes);
  }
  std::unique_ptr<kernels::CopyQueue> make_copy_queue() const override {
    if (late_copies_) return std::make_unique<LateCopyQueue>();
    return inner_->make_copy_queue();
  }
  void finish() const override {
    check();
    inner_->finish();
  }

  std::unique_ptr<kernels::Vector> pack_vector(std::span<const float> values) const override {
    return inner_->pack_vector(values);
  }
  std::unique_ptr<kernels::Linear> pack_linear(kernels::ConstMatrix weight,
                                               std::span<const float> bias) const override {
    return inner_->pack_linear(weight, bias);
  }
  std::unique_ptr<kernels::Embedding> pack_embedding(kernels::ConstMatrix weight) const override {
    return inner_->pack_embedding(weight);
  }
  std::unique_ptr<kernels::LmHead> pack_lm_head(kernels::ConstMatrix weight) const override {
    return inner_->pack_lm_head(weight);
  }
  std::unique_ptr<kernels::RotationTable> make_rotation_table(const kernels::RotationSpec& spec,
                                                              std::int64_t tokens) const override {
    return inner_->make_rotation_table(spec, tokens);
  }
  std::unique_ptr<kernels::KvBuffer> make_kv_buffer(const kernels::AttentionShape& shape,
                                                    std::int64_t capacity_tokens) const override {
    kv_capacity_ = capacity_tokens;
    ++kv_buffers_;
    return inner_->make_kv_buffer(shape, capacity_tokens);
  }
  void embed(const kernels::Embedding& table, std::span<const std::int32_t> ids,
             kernels::Matrix hidden) const override {
    inner_->embed(table, ids, hidden);
  }
  void rms_norm(kernels::ConstMatrix x, const kernels::Vector& weight, float epsilon,
                kernels::Matrix y) const override {
    inner_->rms_norm(x, weight, epsilon, y);
  }
  void linear(const kernels::Linear& weight, kernels::ConstMatrix x, kernels::Matrix y,
              bool accumulate) const override {
    {
      const std::lock_guard lock(mutex_);
      projected_rows_[weight.out_features()] += x.rows;
    }
    inner_->linear(weight, x, y, accumulate);
  }
  void rotate_qkv(const kernels::RotateQkvOptions& options, kernels::ConstMatrix qkv,
                  const kernels::RotationTable& table, kernels::Matrix q, kernels::KvBuffer& kv) const override {
    inner_->rotate_qkv(options, qkv, table, q, kv);
  }
  void attention(const kernels::AttentionShape& shape, kernels::ConstMatrix q, const kernels::KvBuffer& kv,
                 std::int64_t first_position, std::int64_t sliding_window, kernels::Matrix out) const override {
    ++attention_calls_;
    if (left_ >= 0 && left_-- == 0) {
      left_ = 0;
      failing_ = true;
    }
    if (failing_) throw RuntimeError("[attention] the test says that this device fails");
    {
      const std::lock_guard lock(mutex_);
      attention_chunks_[&kv].emplace_back(q.rows, first_position);
    }
    inner_->attention(shape, q, kv, first_position, sliding_window, out);
  }
  void gated_silu(kernels::ConstMatrix gate_up, kernels::Matrix y) const override { inner_->gated_silu(gate_up, y); }
  void nll(const kernels::LmHead& head, kernels::ConstMatrix x, std::span<const std::int32_t> targets,
           std::span<double> nll_nats) const override {
    inner_->nll(head, x, targets, nll_nats);
  }
  void argmax(const kernels::LmHead& head, kernels::ConstMatrix x, std::span<std::int32_t> ids) const override {
    inner_->argmax(head, x, ids);
  }

 private:
  /// Bytes alive and the most there were.
  struct Meter {
    std::atomic<std::int64_t> live{0};
    std::atomic<std::int64_t> peak{0};
    std::shared_ptr<void> count(std::shared_ptr<void> memory, std::int64_t bytes) {
      const std::int64_t now = live += bytes;
      std::int64_t seen = peak;
      while (now > seen && !peak.compare_exchange_weak(seen, now)) {
      }
      void* const pointer = memory.get();
      return {pointer, [this, bytes, held = std::move(memory)](void*) mutable {
                live -= bytes;
                held.reset();
              }};
    }
  };
  void check() const {
    if (failing_ && lost_) throw RuntimeError("[device] the test says that this device is lost");
  }

  std::unique_ptr<kernels::Backend> inner_;
  bool late_copies_;
  mutable Meter device_, host_;
  mutable std::atomic<std::int64_t> kv_capacity_{0}, kv_buffers_{0}, attention_calls_{0}, left_{-1};
  mutable std::atomic<bool> failing_{false};
  mutable std::mutex mutex_;
  mutable std::map<std::int64_t, std::int64_t> projected_rows_;  ///< by output features; guarded by mutex_
  mutable std::map<const kernels::KvBuffer*, std::vector<std::pair<std::int64_t, std::int64_t>>>
      attention_chunks_;  ///< guarded by mutex_
  std::atomic<bool> lost_{false};
  bool rows_dependent_ = false, joinable_ = true;
};

}  // namespace longrope::tests
