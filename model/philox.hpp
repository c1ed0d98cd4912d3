// Counter-based randomness: a value depends on its key alone, never on how many were drawn before or by which thread.
// Generator: Philox4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

namespace longrope::model {

/// One block of the generator: four words that depend on the counter and the key alone.
std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// The stream of one (seed, words). Philox key: the seed, low word first. Counter: {block, words...}.
class PhiloxStream {
 public:
  PhiloxStream(std::uint64_t seed, std::array<std::uint32_t, 3> words);

  std::uint32_t next_u32();
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  /// Uniform in [0, n), without modulo bias. Precondition: n > 0.
  std::uint64_t below(std::uint64_t n);
  /// Standard normal (Box and Muller, 1958; one value of each pair, so that a value never depends on an earlier call).
  double normal();

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace longrope::model
