#include "experiments/benchmarks/strategies/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <utility>

#include "experiments/benchmarks/strategies/peers.hpp"
#include "kernels/error.hpp"
#include "search/strategy.hpp"
#include "search/strategy_requirements.hpp"

namespace longrope::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// CPU seconds of this thread.
double thread_cpu_s() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Time that passes outside of evaluations.
class Overhead {
 public:
  void pause() {
    cpu_s_ += thread_cpu_s() - cpu_start_;
    wall_s_ += seconds_since(wall_start_);
  }
  void go_on() {
    cpu_start_ = thread_cpu_s();
    wall_start_ = Clock::now();
  }
  double cpu_s() const { return cpu_s_; }
  double wall_s() const { return wall_s_; }

 private:
  double cpu_start_ = thread_cpu_s();
  Clock::time_point wall_start_ = Clock::now();
  double cpu_s_ = 0.0, wall_s_ = 0.0;
};

void run_ask_tell(const RunKey& key, Instance& instance, const std::atomic<bool>& stop, Trace& trace,
                  Overhead& overhead, RunRecord& record) {
  search::StrategyOptions options;
  options.seed = key.seed;
  options.budget = key.budget;
  const search::Space space = search::original_space(key.strategy, instance.space());
  const auto strategy = search::make_strategy(key.strategy, space, options);
  for (std::int64_t done = 0; done < key.budget;) {
    if (stop) throw Interrupted("[strategy_bench] stopped");
    const std::vector<search::Candidate> candidates = strategy->ask(done, key.budget - done);
    if (candidates.empty()) break;
    overhead.pause();
    const std::vector<Score> scores = instance.score(candidates);
    overhead.go_on();
    std::vector<search::Outcome> outcomes;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      outcomes.emplace_back(scores[i].objective);
      trace.add(candidates[i], scores[i].objective, 1.0);
      record.model_s += scores[i].model_s;
    }
    strategy->tell(candidates, outcomes);
    done += static_cast<std::int64_t>(candidates.size());
  }
  overhead.pause();
}

void run_peer(const Peer& peer, const RunKey& key, Instance& instance, const std::atomic<bool>& stop, Trace& trace,
              Overhead& overhead, RunRecord& record) {
  record.setup = peer.setup;
  const PeerObjective objective = [&](const search::Candidate& candidate) {
    if (stop) throw Interrupted("[strategy_bench] stopped");
    if (std::cmp_greater_equal(trace.cost().size(), key.budget)) throw PeerDone{};
    overhead.pause();
    const Score score = instance.score({&candidate, 1}).front();
    overhead.go_on();
    trace.add(candidate, score.objective, 1.0);
    record.model_s += score.model_s;
    return score.objective;
  };
  try {
    peer.run(instance.space(), key.seed, key.budget, objective);
  } catch (const PeerDone&) {
  }
  overhead.pause();
}

}  // namespace

void describe_instance(Instance& instance, const Trace& trace, RunRecord& record) {
  record.cost = trace.cost();
  record.best = trace.best();
  record.optimum = instance.optimum();
  std::vector<search::Candidate> candidates = formula_candidates(instance.space());
  const std::vector<Score> formulas = instance.score(candidates);
  record.pi = formulas[0].objective;
  record.ntk = formulas[1].objective;
  record.yarn = formulas[2].objective;
  if (trace.final_best()) {
    record.final_factors = trace.final_best()->factors;
    candidates.push_back(*trace.final_best());
  }
  if (trace.checkpoint_best()) {
    record.checkpoint_factors = trace.checkpoint_best()->factors;
    candidates.push_back(*trace.checkpoint_best());
  }
  const std::vector<double> held_out = instance.held_out(candidates);
  record.held_out_pi = held_out[0];
  record.held_out_ntk = held_out[1];
  record.held_out_yarn = held_out[2];
  if (trace.final_best()) record.held_out_final = held_out[3];
  if (trace.checkpoint_best()) record.held_out_checkpoint = held_out.back();
}

RunRecord run_strategy(const RunKey& key, Instance& instance, const std::atomic<bool>& stop) {
  RunRecord record;
  record.key = key;
  const auto start = Clock::now();
  const std::vector<std::string> peers = peer_names();
  Trace trace;
  Overhead overhead;
  if (std::find(peers.begin(), peers.end(), key.strategy) != peers.end()) {
    const std::optional<Peer> peer = find_peer(key.strategy);
    if (!peer)
      throw InputError(fmt::format("[--strategies] this build has no {} (its library is missing)", key.strategy));
    run_peer(*peer, key, instance, stop, trace, overhead, record);
  } else {
    run_ask_tell(key, instance, stop, trace, overhead, record);
  }
  record.overhead_cpu_s = overhead.cpu_s();
  record.overhead_wall_s = overhead.wall_s();
  record.elapsed_s = seconds_since(start);
  describe_instance(instance, trace, record);
  return record;
}

}  // namespace longrope::bench
