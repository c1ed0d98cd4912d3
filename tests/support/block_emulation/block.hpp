// CUDA blocks run on the host, one thread at a time: every device thread is a user context that runs until it must wait
// for others, so that device code written with warp collectives and barriers can be tested without a device. Where all
// threads wait for what cannot come, Block::run throws EmulationError and says what each waits for.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace longrope::kernels::cuda {
/// The running block's dynamic shared memory, under the name and in the namespace in which kernels declare it.
/// `__shared__` is `thread_local` here: all threads of a block run in one thread of the host.
alignas(1024) inline thread_local unsigned char shared_memory[232448];  // what a Hopper block may have
}  // namespace longrope::kernels::cuda

namespace block_emulation {

using longrope::kernels::cuda::shared_memory;

/// The device code did what the hardware does not allow, or waits for ever.
class EmulationError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Index {
  unsigned x = 0;
};

/// What the running thread reads as threadIdx, blockIdx and gridDim.
inline Index thread_index;
inline Index block_index;
inline Index grid_size;

using Arguments = std::array<std::uint32_t, 12>;  ///< one lane's operands, as bits
using Results = std::array<std::uint32_t, 4>;
using WarpFunction = void (*)(const std::array<Arguments, 32>&, std::array<Results, 32>&);
using Random = std::minstd_rand;

/// An asynchronous 16-byte copy into shared memory that has not been waited for.
struct PendingCopy {
  std::uint32_t to = 0;
  const void* from = nullptr;  ///< null: zeros
};

/// What works beside the threads. It is asked to finish something only when every thread waits: as late as may be.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual bool finish_one() = 0;           ///< false: nothing is left that could be finished
  virtual void enter_block(int rank) = 0;  ///< threads of this block of the cluster run from now on
  virtual void check_idle() const = 0;     ///< all threads have ended; throws where work was left
};

struct Launch {
  unsigned block = 0;  ///< the first one's index
  unsigned grid = 1;
  int threads = 32;   ///< of one block, a multiple of 32
  int blocks = 1;     ///< that run together, as a cluster
  unsigned seed = 0;  ///< 0: warps run in order; else in an order drawn anew each time
  Engine* engine = nullptr;
};

class Block {
 public:
  /// Runs `body` as each thread of block `index`, its shared memory full of NaN.
  static void run(unsigned index, int threads, const std::function<void()>& body) {
    std::memset(shared_memory, 0xff, sizeof shared_memory);
    run({.block = index, .threads = threads}, body);
  }

  static void run(const Launch& launch, const std::function<void()>& body) {
    Block block(launch, body);
    running_ = &block;
    grid_size.x = launch.grid;
    try {
      block.schedule();
      if (launch.engine != nullptr) launch.engine->check_idle();
    } catch (...) {
      running_ = nullptr;
      throw;
    }
    running_ = nullptr;
  }

  // What follows is called by device code, in the running thread.

  static Block& running() { return *running_; }

  int thread() const { return now_; }                  ///< counted through the cluster
  int rank() const { return now_ / launch_.threads; }  ///< of the thread's block in the cluster
  int cluster_threads() const { return static_cast<int>(threads_.size()); }
  bool ended(int rank) const { return left_[rank] == 0; }  ///< all threads of that block

  /// Returns once wait.ready(); wait.describe() says for people what that is.
  template <class Wait>
  void wait_until(const Wait& wait) {
    if (wait.ready()) return;
    Thread& self = *threads_[now_];
    self.wait = &wait;
    self.ready = [](const void* w) { return static_cast<const Wait*>(w)->ready(); };
    self.describe = [](const void* w) { return static_cast<const Wait*>(w)->describe(); };
    swapcontext(&self.context, &scheduler_);
  }

  /// Waits for all threads of the block, or of the whole cluster.
  void meet_block() { meet(meetings_[rank()], launch_.threads, "__syncthreads"); }
  void meet_cluster() { meet(cluster_meeting_, cluster_threads(), "cluster_sync"); }

  /// Waits for the 32 lanes of the warp, has `function` compute all their results at once, and gives this lane its own.
  Results meet_warp(const Arguments& arguments, WarpFunction function) {
    Warp& warp = warps_[now_ / 32];
    const int lane = now_ % 32;
    warp.arguments[lane] = arguments;
    if (warp.meeting.arrived == 31) function(warp.arguments, warp.results);
    meet(warp.meeting, 32, "its warp");
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
  static constexpr std::size_t kStackBytes = std::size_t{128} * 1024;

  struct Thread {
    ucontext_t context{};
    bool done = false;
    const void* wait = nullptr;  ///< null: can run
    bool (*ready)(const void*) = nullptr;
    std::string (*describe)(const void*) = nullptr;
    std::vector<std::vector<PendingCopy>> groups;
    std::vector<PendingCopy> open_group;
  };
  struct Meeting {
    int arrived = 0;
    std::uint64_t turn = 0;
  };
  struct Warp {
    Meeting meeting;
    std::array<Arguments, 32> arguments{};
    std::array<Results, 32> results{};
  };
  struct NextTurn {
    const Meeting& meeting;
    std::uint64_t turn;
    const char* name;
    bool ready() const { return meeting.turn != turn; }
    std::string describe() const { return name; }
  };

  Block(const Launch& launch, const std::function<void()>& body)
      : launch_(launch),
        body_(body),
        random_(launch.seed),
        left_(static_cast<std::size_t>(launch.blocks), launch.threads),
        meetings_(static_cast<std::size_t>(launch.blocks)),
        warps_(static_cast<std::size_t>(launch.threads / 32 * launch.blocks)) {
    static std::vector<std::unique_ptr<char[]>> stacks;  // kept from block to block
    for (std::size_t t = 0; t < warps_.size() * 32; ++t) {
      if (t == stacks.size()) stacks.emplace_back(new char[kStackBytes]);
      Thread& thread = *threads_.emplace_back(std::make_unique<Thread>());
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = stacks[t].get();
      thread.context.uc_stack.ss_size = kStackBytes;
      thread.context.uc_link = nullptr;
      makecontext(&thread.context, &Block::enter, 0);
    }
  }

  static void enter() {
    Block& block = *running_;
    Thread& self = *block.threads_[block.now_];
    try {
      block.body_();
    } catch (...) {
      block.failure_ = std::current_exception();
    }
    self.done = true;
    --block.left_[block.rank()];
    swapcontext(&self.context, &block.scheduler_);
  }

  void meet(Meeting& meeting, int count, const char* name) {
    const std::uint64_t turn = meeting.turn;
    if (++meeting.arrived == count) {
      meeting.arrived = 0;
      ++meeting.turn;
    }
    wait_until(NextTurn{meeting, turn, name});
  }

  void schedule() {
    std::vector<int> order(warps_.size());
    for (std::size_t w = 0; w < order.size(); ++w) order[w] = static_cast<int>(w);
    for (int left = cluster_threads(); left > 0;) {
      if (launch_.seed != 0) std::shuffle(order.begin(), order.end(), random_);
      bool moved = false;
      for (const int warp : order) {
        for (int t = warp * 32; t < warp * 32 + 32; ++t) {
          if (!resume(t)) continue;
          moved = true;
          if (threads_[t]->done) --left;
        }
      }
      if (!moved && (launch_.engine == nullptr || !launch_.engine->finish_one())) report_deadlock();
    }
  }

  /// Runs a thread until it waits or ends; false if it cannot run.
  bool resume(int t) {
    Thread& thread = *threads_[t];
    if (thread.done || (thread.wait != nullptr && !thread.ready(thread.wait))) return false;
    thread.wait = nullptr;
    now_ = t;
    thread_index.x = static_cast<unsigned>(t % launch_.threads);
    block_index.x = launch_.block + static_cast<unsigned>(rank());
    if (launch_.engine != nullptr) launch_.engine->enter_block(rank());
    swapcontext(&scheduler_, &thread.context);
    if (failure_) std::rethrow_exception(failure_);
    return true;
  }

  [[noreturn]] void report_deadlock() const {
    std::map<std::string, std::string> waiting;  // what for -> the threads
    for (int t = 0; t < cluster_threads(); ++t) {
      if (threads_[t]->done) continue;
      std::string& list = waiting[threads_[t]->describe(threads_[t]->wait)];
      if (list.size() < 60) list += ' ' + std::to_string(t);
    }
    std::string message = "deadlock in block " + std::to_string(launch_.block);
    for (const auto& [what, list] : waiting) message += "\n  waiting for " + what + ": threads" + list;
    throw EmulationError(message);
  }

  static inline Block* running_ = nullptr;
  const Launch launch_;
  const std::function<void()>& body_;
  Random random_;
  ucontext_t scheduler_{};
  int now_ = 0;
  std::exception_ptr failure_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<int> left_;  ///< threads of each block
  std::vector<Meeting> meetings_;
  Meeting cluster_meeting_;
  std::vector<Warp> warps_;
};

}  // namespace block_emulation
