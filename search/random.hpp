// The randomness of a search, keyed by where it is used: nothing has to be saved mid-way, and a resumed search draws
// the same numbers (model/philox.hpp).
#pragma once

#include <cstdint>

#include "model/philox.hpp"

namespace longrope::search {

using model::philox4x32_10;

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

/// The stream of one (seed, stage, generation, candidate, purpose). Philox key: the seed, low word first. Counter:
/// {block, candidate, generation, stage ^ (purpose << 16)}; stages below 65536. Part of the store's resume contract.
class RandomStream : public model::PhiloxStream {
 public:
  RandomStream(std::uint64_t seed, std::uint32_t stage, std::uint32_t generation, std::uint32_t candidate,
               Purpose purpose)
      : PhiloxStream(seed, {candidate, generation, stage ^ (static_cast<std::uint32_t>(purpose) << 16)}) {}
};

}  // namespace longrope::search
