// Barriers of emulated Hopper blocks: mbarriers (phases that end when all arrivals are in and all announced bytes have
// landed) and named barriers. Source: PTX ISA, "mbarrier" and "bar".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "tests/support/block_emulation/block.hpp"

namespace block_emulation::hopper {

class TransactionBarriers {
 public:
  struct Barrier {
    int number = 0;  ///< in the order of initialisation, for messages
    std::uint32_t arrivals = 0;
    std::uint32_t missing = 0;
    std::int64_t bytes = 0;
    std::uint32_t phase = 0;
    bool fenced = false;  ///< the copy engine knows it
  };

  void init(int rank, const void* place, std::uint32_t arrivals) {
    const int number = static_cast<int>(barriers_.size());
    const Barrier fresh{.number = number, .arrivals = arrivals, .missing = arrivals};
    if (!barriers_.emplace(Key{rank, place}, fresh).second) throw EmulationError("an mbarrier is initialised twice");
  }
  void fence(int rank) {
    for (auto& [key, barrier] : barriers_) barrier.fenced |= key.first == rank;
  }
  Barrier& at(int rank, const void* place) {
    const auto found = barriers_.find(Key{rank, place});
    if (found == barriers_.end()) throw EmulationError("an mbarrier is used that was not initialised");
    return found->second;
  }

  static void arrive(Barrier& barrier, std::int64_t bytes = 0) {
    if (barrier.missing == 0) throw EmulationError("more arrivals than awaited at " + describe(barrier));
    barrier.bytes += bytes;
    --barrier.missing;
    end_phase(barrier);
  }
  static void land(Barrier& barrier, std::int64_t bytes) {
    barrier.bytes -= bytes;
    end_phase(barrier);
  }

  /// Ready when the phase of this parity is over: the current one has the other parity.
  struct PhaseEnd {
    const Barrier& barrier;
    std::uint32_t parity;
    bool ready() const { return barrier.phase % 2 != parity; }
    std::string describe() const {
      return "the end of a phase of parity " + std::to_string(parity) + " of " + TransactionBarriers::describe(barrier);
    }
  };

  static std::string describe(const Barrier& b) {
    return "mbarrier " + std::to_string(b.number) + " in the order of initialisation (phase " +
           std::to_string(b.phase) + ", " + std::to_string(b.missing) + " of " + std::to_string(b.arrivals) +
           " arrivals and " + std::to_string(b.bytes) + " bytes missing)";
  }

 private:
  using Key = std::pair<int, const void*>;

  static void end_phase(Barrier& barrier) {
    if (barrier.missing > 0 || barrier.bytes != 0) return;
    barrier.missing = barrier.arrivals;
    ++barrier.phase;
  }

  std::map<Key, Barrier> barriers_;
};

class NamedBarriers {
 public:
  void arrive(int rank, int id, int threads) {
    Barrier& barrier = barriers_[{rank, id}];
    if (id < 0 || id > 15 || threads % 32 != 0) throw EmulationError("bar: 16 barriers of whole warps");
    if (barrier.arrived > 0 && barrier.threads != threads) {
      throw EmulationError("bar " + std::to_string(id) + " is awaited by different numbers of threads");
    }
    barrier.threads = threads;
    if (++barrier.arrived == threads) {
      barrier.arrived = 0;
      ++barrier.turn;
    }
  }
  void sync(int rank, int id, int threads) {
    const Barrier& barrier = barriers_[{rank, id}];
    const std::uint64_t turn = barrier.turn;
    arrive(rank, id, threads);
    Block::running().wait_until(Full{barrier, turn, id});
  }

 private:
  struct Barrier {
    int threads = 0;
    int arrived = 0;
    std::uint64_t turn = 0;
  };
  struct Full {
    const Barrier& barrier;
    std::uint64_t turn;
    int id;
    bool ready() const { return barrier.turn != turn; }
    std::string describe() const {
      return "named barrier " + std::to_string(id) + " (" + std::to_string(barrier.arrived) + " of " +
             std::to_string(barrier.threads) + " threads are there)";
    }
  };
  std::map<std::pair<int, int>, Barrier> barriers_;
};

}  // namespace block_emulation::hopper
