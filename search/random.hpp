// Counter-based randomness: a value depends on its key alone, never on how many were drawn before or by which thread,
// so nothing has to be saved mid-way and a resumed search draws the same numbers. Generator: Philox4x32-10,
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

namespace longrope::search {

/// What a draw is for; part of the key (values are part of the store's resume contract).
enum class Purpose : std::uint32_t {
  seed_population = 1,
  mutation = 2,
  crossover = 3,
  parent_choice = 4,
  random = 5,
  distribution = 16,  ///< samples of CMA-ES
  acquisition = 17,   ///< where the optimisation of a surrogate starts
};

/// One block of the generator: four words that depend on the counter and the key alone.
std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// The stream of one (seed, stage, generation, candidate, purpose). Philox key: the seed, low word first. Counter:
/// {block, candidate, generation, stage ^ (purpose << 16)}; stages below 65536. Part of the store's resume contract.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint32_t stage, std::uint32_t generation, std::uint32_t candidate,
               Purpose purpose);

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

}  // namespace longrope::search
