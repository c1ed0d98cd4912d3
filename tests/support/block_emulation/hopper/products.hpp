// wgmma of emulated Hopper blocks, asynchronous: a product is carried out when its group is waited for and no thread
// can go on otherwise; until then its accumulator holds NaN, and its operands must not change. A thread that reads its
// accumulator too early is not seen at once, but computes with NaN. Source: PTX ISA, "wgmma.mma_async" and what
// follows.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "tests/support/block_emulation/hopper/wgmma_arithmetic.hpp"

namespace block_emulation::hopper {

/// One instruction, the same in all threads of a warpgroup.
struct Product {
  Element element = Element::bf16;
  int columns = 0;        ///< n
  bool a_shared = false;  ///< else in registers
  std::uint64_t a = 0;    ///< its descriptor
  std::uint64_t b = 0;
  bool b_k_major = true;
  bool accumulate = false;
  bool operator==(const Product&) const = default;
};

class Products {
 public:
  Products(SharedWindow& window, int threads, int threads_of_block)
      : window_(window), threads_of_block_(threads_of_block), threads_(static_cast<std::size_t>(threads)) {
    warpgroups_.resize(static_cast<std::size_t>(threads / 128));
  }

  void fence(int thread) { threads_[thread].fenced = true; }

  /// d: columns / 2 registers of this thread; a: 4, or null.
  void issue(int thread, const Product& product, float* d, const std::uint32_t* a) {
    Thread& self = threads_[thread];
    Warpgroup& warpgroup = warpgroups_[thread / 128];
    // PTX lets products of one shape go on with an accumulator that nobody touched in between; no kernel here does so.
    if (!self.fenced) throw EmulationError("wgmma without wgmma_fence since the last wait");
    if (self.open_group - warpgroup.finished == warpgroup.groups.size()) warpgroup.groups.emplace_back();
    Group& group = warpgroup.groups[self.open_group - warpgroup.finished];
    if (self.open_products == group.products.size()) begin(group, product, thread / threads_of_block_);
    Running& running = group.products[self.open_products++];
    if (!(running.product == product)) throw EmulationError("threads of a warpgroup issue different wgmmas");
    ++running.issued;
    Registers& mine = running.registers[thread % 128];
    mine.d = d;
    mine.a = a;
    if (a != nullptr) std::copy_n(a, 4, mine.a_values.begin());
    Accumulator& sums = self.accumulators[d];
    if (sums.uses++ == 0) {
      sums.values.assign(d, d + product.columns / 2);
      std::fill_n(d, product.columns / 2, poison());
    }
    if (sums.values.size() != static_cast<std::size_t>(product.columns / 2)) {
      throw EmulationError("wgmmas of different widths at work on one accumulator");
    }
  }

  void commit(int thread) {
    Thread& self = threads_[thread];
    Warpgroup& warpgroup = warpgroups_[thread / 128];
    if (self.open_group - warpgroup.finished == warpgroup.groups.size()) warpgroup.groups.emplace_back();
    ++warpgroup.groups[self.open_group - warpgroup.finished].commits;
    ++self.open_group;
    self.open_products = 0;
  }

  /// Until at most `pending` committed groups are unfinished.
  void wait(int thread, int pending) {
    Thread& self = threads_[thread];
    Warpgroup& warpgroup = warpgroups_[thread / 128];
    const std::uint64_t most = static_cast<std::uint64_t>(pending);
    self.awaited = self.open_group > most ? self.open_group - most : 0;
    warpgroup.awaited = std::max(warpgroup.awaited, self.awaited);
    Block::running().wait_until(Finished{warpgroup, self.awaited});
    self.fenced = false;
  }

  /// Warpgroups whose oldest group is complete and awaited.
  std::vector<int> ready() const {
    std::vector<int> found;
    for (std::size_t w = 0; w < warpgroups_.size(); ++w) {
      const Warpgroup& warpgroup = warpgroups_[w];
      if (warpgroup.awaited > warpgroup.finished && warpgroup.groups.front().commits == 128) {
        found.push_back(static_cast<int>(w));
      }
    }
    return found;
  }

  /// Carries out the warpgroup's oldest group.
  void finish(int warpgroup_index) {
    Warpgroup& warpgroup = warpgroups_[warpgroup_index];
    for (Running& running : warpgroup.groups.front().products) carry_out(running, warpgroup_index * 128);
    for (const Running& running : warpgroup.groups.front().products) deliver(running, warpgroup_index * 128);
    warpgroup.groups.pop_front();
    ++warpgroup.finished;
  }

  void check_idle() const {
    for (const Warpgroup& warpgroup : warpgroups_) {
      if (!warpgroup.groups.empty()) throw EmulationError("the block ended before its wgmmas");
    }
  }

 private:
  struct Registers {
    float* d = nullptr;
    const std::uint32_t* a = nullptr;
    std::array<std::uint32_t, 4> a_values{};
  };
  struct Running {
    Product product;
    int rank = 0;
    int issued = 0;                     ///< threads
    std::vector<std::uint32_t> pieces;  ///< of shared memory that it reads
    std::array<Registers, 128> registers{};
  };
  struct Group {
    int commits = 0;
    std::deque<Running> products;
  };
  struct Warpgroup {
    std::uint64_t finished = 0;
    std::uint64_t awaited = 0;
    std::deque<Group> groups;  ///< the first is number `finished`
  };
  struct Accumulator {
    int uses = 0;
    std::vector<float> values;
  };
  struct Thread {
    bool fenced = false;
    std::uint64_t open_group = 0;
    std::uint64_t awaited = 0;
    std::size_t open_products = 0;
    std::map<float*, Accumulator> accumulators;
  };
  struct Finished {
    const Warpgroup& warpgroup;
    std::uint64_t groups;
    bool ready() const { return warpgroup.finished >= groups; }
    std::string describe() const { return "wgmma group " + std::to_string(groups - 1) + " of its warpgroup"; }
  };

  static float poison() { return std::bit_cast<float>(0xFFFFFFFFU); }

  void begin(Group& group, const Product& product, int rank) {
    Running& running = group.products.emplace_back();
    running.product = product;
    running.rank = rank;
    const int depth = depth_of(product.element);
    running.pieces = SharedOperand(product.b, product.element, product.b_k_major).pieces(product.columns, depth);
    if (product.a_shared) {
      const std::vector<std::uint32_t> more = SharedOperand(product.a, product.element, true).pieces(64, depth);
      running.pieces.insert(running.pieces.end(), more.begin(), more.end());
    }
    for (const std::uint32_t address : running.pieces) window_.begin_read(rank, address);
  }

  // Of A in registers, with w = t / 32, g = t % 32 / 4, q = t % 4 and p elements in a register: a[2 i + h] holds
  // A[16 w + g + 8 h][4 p i + p q ...].
  static Matrix gather_a(const Running& running) {
    const Element element = running.product.element;
    const int packed = 4 / bytes_of(element);
    Matrix a(64, depth_of(element));
    for (int t = 0; t < 128; ++t) {
      const Registers& registers = running.registers[t];
      for (int r = 0; r < 4; ++r) {
        if (registers.a[r] != registers.a_values[r]) throw EmulationError("A changed while a wgmma read it");
        const int row = t / 32 * 16 + t % 32 / 4 + r % 2 * 8;
        for (int e = 0; e < packed; ++e) {
          const std::uint32_t bits = registers.a[r] >> static_cast<unsigned>(e * 8 * bytes_of(element));
          a.at(row, r / 2 * 4 * packed + t % 4 * packed + e) =
              value_of(element, bits & (element == Element::bf16 ? 0xFFFFU : 0xFFU));
        }
      }
    }
    return a;
  }

  // Of D: d[4 j + 2 h + c] is D[16 w + g + 8 h][8 j + 2 q + c].
  static std::size_t place_in_d(int t, int i, int columns) {
    const int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8;
    return static_cast<std::size_t>(row * columns + i / 4 * 8 + t % 4 * 2 + i % 2);
  }

  void carry_out(const Running& running, int first_thread) {
    const Product& product = running.product;
    if (running.issued != 128) throw EmulationError("a wgmma was not issued by all threads of its warpgroup");
    const Matrix b = read_operand(window_, running.rank, SharedOperand(product.b, product.element, product.b_k_major),
                                  product.element, product.columns);
    const Matrix a =
        product.a_shared
            ? read_operand(window_, running.rank, SharedOperand(product.a, product.element, true), product.element, 64)
            : gather_a(running);
    std::vector<float> sums(static_cast<std::size_t>(64 * product.columns), 0.0F);
    const auto each = [&](auto&& use) {
      for (int t = 0; t < 128; ++t) {
        std::vector<float>& values = threads_[first_thread + t].accumulators.at(running.registers[t].d).values;
        for (int i = 0; i < product.columns / 2; ++i) use(values[i], sums[place_in_d(t, i, product.columns)]);
      }
    };
    if (product.accumulate) each([](float value, float& sum) { sum = value; });
    multiply(product.element, a, b, sums);
    each([](float& value, float sum) { value = sum; });
    for (const std::uint32_t address : running.pieces) window_.end_read(running.rank, address);
  }

  // Registers get their values once no unfinished product writes them.
  void deliver(const Running& running, int first_thread) {
    for (int t = 0; t < 128; ++t) {
      float* const d = running.registers[t].d;
      auto& accumulators = threads_[first_thread + t].accumulators;
      Accumulator& sums = accumulators.at(d);
      if (--sums.uses > 0) continue;
      for (std::size_t i = 0; i < sums.values.size(); ++i) {
        if (std::bit_cast<std::uint32_t>(d[i]) != 0xFFFFFFFFU) {
          throw EmulationError("an accumulator changed while a wgmma was at work on it");
        }
        d[i] = sums.values[i];
      }
      accumulators.erase(d);
    }
  }

  SharedWindow& window_;
  int threads_of_block_;
  std::vector<Thread> threads_;
  std::vector<Warpgroup> warpgroups_;
};

}  // namespace block_emulation::hopper
