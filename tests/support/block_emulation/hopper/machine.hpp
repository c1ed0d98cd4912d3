// A Hopper block, or a cluster of them, run on the host: threads with the machinery that works beside them. Copies and
// products finish as late as the hardware may, and in an order drawn anew for every seed but 0.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tests/support/block_emulation/hopper/barriers.hpp"
#include "tests/support/block_emulation/hopper/products.hpp"
#include "tests/support/block_emulation/hopper/shared_window.hpp"
#include "tests/support/block_emulation/hopper/tensor_copies.hpp"

namespace block_emulation::hopper {

struct HopperLaunch {
  unsigned block = 0;  ///< index of the (first) block
  unsigned grid = 1;
  int threads = 128;
  std::uint32_t dynamic_bytes = 0;  ///< of shared memory, per block
  int cluster = 1;                  ///< blocks that run together
  unsigned seed = 0;
};

class Machine final : public Engine {
 public:
  explicit Machine(const HopperLaunch& launch)
      : random_(launch.seed),
        any_order_(launch.seed != 0),
        window(launch.cluster, launch.dynamic_bytes),
        copies(window),
        products(window, launch.threads * launch.cluster, launch.threads) {
    running_ = this;
  }
  ~Machine() override { running_ = nullptr; }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  static Machine& running() { return *running_; }

  bool finish_one() override {
    const std::vector<int> ready = products.ready();
    const std::size_t choices = copies.pending() + ready.size();
    if (choices == 0) return false;
    const std::size_t choice = any_order_ ? random_() % choices : 0;
    if (choice < copies.pending()) {
      copies.finish(choice);
    } else {
      products.finish(ready[choice - copies.pending()]);
    }
    return true;
  }
  void enter_block(int rank) override { window.enter(rank); }
  void check_idle() const override {
    if (copies.pending() > 0) throw EmulationError("the block ended before its copies");
    products.check_idle();
  }

 private:
  static inline Machine* running_ = nullptr;
  Random random_;
  bool any_order_;

 public:
  SharedWindow window;
  TransactionBarriers barriers;
  NamedBarriers named;
  TensorCopies copies;
  Products products;
};

/// Runs `body` as each thread. Throws EmulationError.
inline void run(const HopperLaunch& launch, const std::function<void()>& body) {
  Machine machine(launch);
  Block::run({.block = launch.block,
              .grid = launch.grid,
              .threads = launch.threads,
              .blocks = launch.cluster,
              .seed = launch.seed,
              .engine = &machine},
             body);
}

}  // namespace block_emulation::hopper
