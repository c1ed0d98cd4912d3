// Compiled where NLopt is not installed.
#include "experiments/benchmarks/strategies/peers.hpp"

namespace longrope::bench {

std::optional<Peer> bobyqa_peer() { return std::nullopt; }

}  // namespace longrope::bench
