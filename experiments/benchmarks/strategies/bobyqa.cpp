#include <fmt/format.h>
#include <nlopt.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>

#include "experiments/benchmarks/strategies/peers.hpp"
#include "kernels/error.hpp"

namespace longrope::bench {
namespace {

constexpr double kInitialStep = 0.05;  // in log λ: the trust region's first radius

struct Call {
  const search::Space* space;
  const PeerObjective* objective;
  nlopt_opt optimiser;
  double bad = 0.0;  // what a bad candidate is told to be: the model BOBYQA fits cannot hold NaN
  std::exception_ptr error;
};

std::vector<double> sums(const double* increments, std::size_t n) {
  std::vector<double> z(n);
  double sum = 0.0;
  for (std::size_t i = 0; i < n; ++i) z[i] = sum += increments[i];
  return z;
}

/// NLopt is C: no exception may pass through it.
double evaluate(unsigned n, const double* x, double*, void* data) {
  auto& call = *static_cast<Call*>(data);
  try {
    const double value = (*call.objective)(candidate_at(*call.space, sums(x, n)));
    if (std::isfinite(value) && call.bad == 0.0) call.bad = 10.0 * std::abs(value) + 1.0;
    return std::isfinite(value) ? value : call.bad;
  } catch (...) {
    call.error = std::current_exception();
    nlopt_force_stop(call.optimiser);
    return call.bad;
  }
}

void run(const search::Space& space, std::uint64_t seed, std::int64_t budget, const PeerObjective& objective) {
  const std::vector<double> yarn = yarn_log_factors(space);
  const std::size_t n = yarn.size();
  const double top = std::log(space.upper(static_cast<std::int64_t>(n) - 1));
  std::vector<double> x(n), lower(n, 0.0), upper(n, top);
  lower[0] = std::log(space.lower(0));
  for (std::size_t i = 0; i < n; ++i) x[i] = i == 0 ? yarn[0] : std::max(0.0, yarn[i] - yarn[i - 1]);

  const std::unique_ptr<nlopt_opt_s, decltype(&nlopt_destroy)> optimiser(
      nlopt_create(NLOPT_LN_BOBYQA, static_cast<unsigned>(n)), nlopt_destroy);
  if (!optimiser) throw RuntimeError("[bobyqa] NLopt could not make its optimiser");
  Call call{&space, &objective, optimiser.get(), 0.0, nullptr};
  nlopt_srand(static_cast<unsigned long>(seed));  // BOBYQA draws nothing: its start is what differs
  nlopt_set_lower_bounds(optimiser.get(), lower.data());
  nlopt_set_upper_bounds(optimiser.get(), upper.data());
  nlopt_set_min_objective(optimiser.get(), evaluate, &call);
  nlopt_set_initial_step1(optimiser.get(), kInitialStep);
  nlopt_set_maxeval(optimiser.get(), static_cast<int>(std::min<std::int64_t>(budget, 1 << 30)));
  double best = 0.0;
  nlopt_optimize(optimiser.get(), x.data(), &best);  // stops early when round-off limits it, and that is its result
  if (call.error) std::rethrow_exception(call.error);
}

}  // namespace

std::optional<Peer> bobyqa_peer() {
  int major = 0, minor = 0, patch = 0;
  nlopt_version(&major, &minor, &patch);
  return Peer{"bobyqa",
              fmt::format("NLopt {}.{}.{} LN_BOBYQA on increments of log lambda, start YaRN, first radius {}, 2n+1 "
                          "points",
                          major, minor, patch, kInitialStep),
              run};
}

}  // namespace longrope::bench
