// Compiled where pagmo2 is not installed.
#include "experiments/benchmarks/strategies/peers.hpp"

namespace longrope::bench {

std::optional<Peer> pagmo_cmaes_peer() { return std::nullopt; }

}  // namespace longrope::bench
