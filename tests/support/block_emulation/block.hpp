// A CUDA block run on the host, one thread of it at a time: every device thread is a user context that runs until it
// must wait for others, so that device code written with warp collectives and barriers can be tested without a device.
#pragma once

#include <ucontext.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace longrope::kernels::cuda {
/// The running block's shared memory, under the name and in the namespace in which kernels declare it.
alignas(1024) inline unsigned char shared_memory[232448];  // what a Hopper block may have
}  // namespace longrope::kernels::cuda

namespace block_emulation {

using longrope::kernels::cuda::shared_memory;

struct Index {
  unsigned x = 0;
};

/// What the running thread reads as threadIdx and blockIdx.
inline Index thread_index;
inline Index block_index;

using Arguments = std::array<std::uint32_t, 12>;  ///< one lane's operands, as bits
using Results = std::array<std::uint32_t, 4>;
using WarpFunction = void (*)(const std::array<Arguments, 32>&, std::array<Results, 32>&);

/// An asynchronous 16-byte copy into shared memory that has not been waited for.
struct PendingCopy {
  std::uint32_t to = 0;
  const void* from = nullptr;  ///< null: zeros
};

class Block {
 public:
  /// Runs `body` as each of `threads` (a multiple of 32) threads of block `index`, its shared memory full of NaN.
  static void run(unsigned index, int threads, const std::function<void()>& body) {
    Block block(threads, body);
    running_ = &block;
    block_index.x = index;
    std::memset(shared_memory, 0xff, sizeof shared_memory);
    for (int left = threads; left > 0;) {
      for (int t = 0; t < threads; ++t) {
        if (block.threads_[t]->done) continue;
        block.now_ = t;
        thread_index.x = static_cast<unsigned>(t);
        swapcontext(&block.scheduler_, &block.threads_[t]->context);
        if (block.threads_[t]->done) --left;
      }
    }
    running_ = nullptr;
  }

  /// What follows is called by device code, in the running thread.
  static Block& running() { return *running_; }

  /// Waits for all threads of the block.
  void meet_block() {
    const std::uint64_t turn = block_turn_;
    if (++block_arrived_ == static_cast<int>(threads_.size())) {
      block_arrived_ = 0;
      ++block_turn_;
    }
    while (block_turn_ == turn) yield();
  }

  /// Waits for the 32 lanes of the warp, has `function` compute all their results at once, and gives this lane its own.
  Results meet_warp(const Arguments& arguments, WarpFunction function) {
    Warp& warp = warps_[now_ / 32];
    const int lane = now_ % 32;
    warp.arguments[lane] = arguments;
    const std::uint64_t turn = warp.turn;
    if (++warp.arrived == 32) {
      function(warp.arguments, warp.results);
      warp.arrived = 0;
      ++warp.turn;
    }
    while (warp.turn == turn) yield();
    return warp.results[lane];
  }

  void start_copy(std::uint32_t to, const void* from) {
    threads_[now_]->open_group.push_back({.to = to, .from = from});
    std::memset(shared_memory + to, 0xff, 16);  // to be seen by whoever reads too early
  }
  void close_copies() {
    threads_[now_]->groups.push_back(std::move(threads_[now_]->open_group));
    threads_[now_]->open_group.clear();
  }
  /// Carries out all but the newest `pending` closed groups: as late as the hardware may.
  void wait_copies(int pending) {
    auto& groups = threads_[now_]->groups;
    while (static_cast<int>(groups.size()) > pending) {
      for (const PendingCopy& copy : groups.front()) {
        if (copy.from != nullptr) {
          std::memcpy(shared_memory + copy.to, copy.from, 16);
        } else {
          std::memset(shared_memory + copy.to, 0, 16);
        }
      }
      groups.erase(groups.begin());
    }
  }

 private:
  struct Thread {
    ucontext_t context{};
    std::vector<char> stack = std::vector<char>(std::size_t{128} * 1024);
    bool done = false;
    std::vector<std::vector<PendingCopy>> groups;
    std::vector<PendingCopy> open_group;
  };
  struct Warp {
    int arrived = 0;
    std::uint64_t turn = 0;
    std::array<Arguments, 32> arguments{};
    std::array<Results, 32> results{};
  };

  Block(int threads, const std::function<void()>& body) : body_(body), warps_(static_cast<std::size_t>(threads / 32)) {
    for (int t = 0; t < threads; ++t) {
      Thread& thread = *threads_.emplace_back(std::make_unique<Thread>());
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = thread.stack.data();
      thread.context.uc_stack.ss_size = thread.stack.size();
      thread.context.uc_link = nullptr;
      makecontext(&thread.context, &Block::enter, 0);
    }
  }

  static void enter() {
    Block& block = *running_;
    Thread& self = *block.threads_[block.now_];
    block.body_();
    self.done = true;
    swapcontext(&self.context, &block.scheduler_);
  }

  void yield() {
    const int self = now_;
    swapcontext(&threads_[self]->context, &scheduler_);
    thread_index.x = static_cast<unsigned>(self);
  }

  static inline Block* running_ = nullptr;
  const std::function<void()>& body_;
  ucontext_t scheduler_{};
  int now_ = 0;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  int block_arrived_ = 0;
  std::uint64_t block_turn_ = 0;
};

}  // namespace block_emulation
