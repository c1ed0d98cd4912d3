// Outside optimisers that our strategies are compared with. Each is another library's, used as its documentation says,
// started from YaRN, and each is present only where the build found its library.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "search/candidate.hpp"
#include "search/space.hpp"

namespace longrope::bench {

/// Throw it from a PeerObjective to end a peer: its budget is spent.
struct PeerDone {};

/// Objective of one candidate; NaN: bad.
using PeerObjective = std::function<double(const search::Candidate&)>;

struct Peer {
  std::string name;
  std::string setup;  ///< one line: library, version, and what was chosen
  /// Returns when the optimiser has ended; passes on what the objective throws, PeerDone too.
  std::function<void(const search::Space&, std::uint64_t seed, std::int64_t budget, const PeerObjective&)> run;
};

/// "bobyqa" and "pagmo-cmaes".
std::vector<std::string> peer_names();
/// nullopt: this build lacks its library. Precondition: a name of peer_names().
std::optional<Peer> find_peer(const std::string& name);

/// NLopt's LN_BOBYQA on increments of z = log λ, which are bounded below by 0: monotone by construction.
std::optional<Peer> bobyqa_peer();
/// pagmo2's cmaes on z = log λ, scored after isotonic repair.
std::optional<Peer> pagmo_cmaes_peer();

/// z of YaRN, relative to the space's base and within its bounds [d/2].
std::vector<double> yarn_log_factors(const search::Space& space);
/// The candidate at z [d/2], put within the space's bounds.
search::Candidate candidate_at(const search::Space& space, std::span<const double> z);

/// The non-decreasing vector nearest to z in the sum of squares: pool adjacent violators (Ayer et al., 1955).
std::vector<double> isotonic(std::span<const double> z);

}  // namespace longrope::bench
