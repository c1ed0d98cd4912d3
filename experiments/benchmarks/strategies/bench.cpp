#include "experiments/benchmarks/strategies/bench.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "experiments/benchmarks/strategies/analytic.hpp"
#include "experiments/benchmarks/strategies/model_problem.hpp"
#include "experiments/benchmarks/strategies/peers.hpp"
#include "experiments/benchmarks/strategies/results.hpp"
#include "kernels/error.hpp"

namespace longrope::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::int64_t kMaxLength = std::int64_t{1} << 32;
constexpr std::int64_t kMaxWindows = 1'000'000;

struct Job {
  Problem* problem = nullptr;
  RunKey key;
};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// All of one run: the session, the problems, the output and the threads.
class Bench {
 public:
  Bench(const BenchOptions& options, const cli::po::variables_map& values)
      : options_(options), values_(values), results_(options.out) {
    if (contains(options.problems, "model")) open_session();
    for (const std::string& name : options.problems) add_problem(name);
    list_jobs();
  }

  int run() {
    cli::install_stop_signals();
    const auto start = Clock::now();
    std::vector<std::thread> threads;
    const std::size_t count = std::min(jobs_.size(), static_cast<std::size_t>(options_.parallel_runs));
    running_ = count;
    if (model_) model_->expect(count);
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back([this] { work(); });
    {
      std::unique_lock lock(mutex_);
      while (!ended_.wait_for(lock, std::chrono::milliseconds(100), [this] { return running_ == 0; })) {
        const bool late =
            options_.max_s > 0.0 && std::chrono::duration<double>(Clock::now() - start).count() > options_.max_s;
        if (late || cli::stop_requested()) stop_ = true;
      }
    }
    for (std::thread& thread : threads) thread.join();
    if (error_) std::rethrow_exception(error_);
    fmt::print("{} runs done, {} of earlier ones kept, {} left; {}\n", done_, kept_, jobs_.size() - done_ - refused_,
               options_.out);
    return done_ + refused_ == jobs_.size() ? cli::kDone : cli::kInterrupted;
  }

 private:
  void open_session() {
    ModelProblemOptions model;
    model.name = values_["name"].as<std::string>();
    if (model.name.find('/') != std::string::npos)
      throw InputError(fmt::format("[--name] must have no slash but got \"{}\"", model.name));
    model.target_length =
        cli::parse_integer("target-length", cli::require_option(values_, "target-length"), 2, kMaxLength);
    session_.emplace(values_, model.target_length, cli::kTablesOfAStep);
    if (values_.count("holdout-text") != 0) {
      for (const std::string& file : values_["holdout-text"].as<std::vector<std::string>>())
        model.held_out.emplace_back(file);
    }
    model.held_out_windows =
        cli::parse_integer("holdout-windows", values_["holdout-windows"].as<std::string>(), 1, kMaxWindows);
    auto problem = std::make_unique<ModelProblem>(*session_, model, stop_);
    model_ = problem.get();
    model_problem_ = std::move(problem);
  }

  void add_problem(const std::string& name) {
    problems_.push_back(name == "model" ? std::move(model_problem_) : make_analytic_problem(name));
    if (!problems_.back()) throw InputError("[--problem] must name model once");
    results_.require_same_problem(problems_.back()->name(), problems_.back()->identity());
  }

  void list_jobs() {
    const std::vector<std::string> peers = peer_names();
    std::vector<std::string> strategies;
    for (const std::string& name : options_.strategies) {
      if (contains(peers, name) && !find_peer(name)) {
        fmt::print("{}: skipped, this build lacks its library\n", name);
      } else {
        strategies.push_back(name);
      }
    }
    // Seeds outermost: a bench that is stopped has every strategy with the same seeds.
    for (std::int64_t k = 0; k < options_.seeds; ++k) {
      const auto seed = static_cast<std::uint64_t>(options_.first_seed + k);
      for (const auto& problem : problems_) {
        for (const std::string& name : strategies) {
          Job job{problem.get(), {}};
          job.key = {problem->name(), name, seed, options_.budget_of(name), "ask-tell"};
          if (options_.through_driver && problem.get() == model_ && !contains(peers, name)) {
            const std::optional<double> racing = racing_of(name);
            job.key.through = racing ? fmt::format("driver, racing {:g}", *racing) : "driver";
          }
          if (results_.has(job.key) && !contains(options_.redo, name)) {
            ++kept_;
          } else {
            jobs_.push_back(job);
          }
        }
      }
    }
  }

  /// The published algorithms are run as published.
  std::optional<double> racing_of(const std::string& strategy) const {
    static const std::vector<std::string> published = {"paper-ga",     "release-ga", "piece-ga",
                                                       "longrope2-ga", "random",     "nsga2"};
    return contains(published, strategy) ? std::nullopt : options_.racing;
  }

  RunRecord run_job(const Job& job) {
    if (job.key.through != "ask-tell") {
      const std::lock_guard lock(hdf5_);
      return model_->run_through_driver(job.key, racing_of(job.key.strategy));
    }
    const std::shared_ptr<Instance> instance = job.problem->instance(job.key.seed);
    return run_strategy(job.key, *instance, stop_);
  }

  void work() {
    for (;;) {
      Job job;
      {
        const std::lock_guard lock(mutex_);
        if (stop_ || next_ == jobs_.size()) break;
        job = jobs_[next_++];
      }
      try {
        RunRecord record = run_job(job);
        record.identity = job.problem->identity();
        record.threads = job.problem == model_ ? threads() : 1;
        finish(std::move(record));
      } catch (const Interrupted&) {
        break;
      } catch (const InputError& refusal) {  // a strategy that this space is not for
        const std::lock_guard lock(mutex_);
        ++refused_;
        fmt::print("{} {} seed {}: not run: {}\n", job.key.problem, job.key.strategy, job.key.seed, refusal.what());
      } catch (...) {
        const std::lock_guard lock(mutex_);
        error_ = std::current_exception();
        stop_ = true;
      }
    }
    const std::lock_guard lock(mutex_);
    if (model_)
      model_->expect(--running_);
    else
      --running_;
    ended_.notify_all();
  }

  std::int64_t threads() const {
    return static_cast<std::int64_t>(tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism));
  }

  void finish(RunRecord record) {
    const std::scoped_lock lock(hdf5_, mutex_);
    const double best = record.best.empty() ? RunRecord::kNone : record.best.back();
    fmt::print("{} {} seed {}: {:.6g} (yarn {:.6g}) after {} evaluations of cost {:.1f}, {:.1f} s\n",
               record.key.problem, record.key.strategy, record.key.seed, best, record.yarn, record.best.size(),
               record.cost.empty() ? 0.0 : record.cost.back(), record.elapsed_s);
    std::fflush(stdout);
    results_.add(std::move(record));
    ++done_;
  }

  const BenchOptions& options_;
  const cli::po::variables_map& values_;
  std::atomic<bool> stop_{false};
  Results results_;
  std::optional<cli::Session> session_;
  std::unique_ptr<Problem> model_problem_;  ///< until it takes its place among the problems
  ModelProblem* model_ = nullptr;
  std::vector<std::unique_ptr<Problem>> problems_;
  std::vector<Job> jobs_;
  std::mutex hdf5_;  ///< HDF5 is for one thread at a time, and a run through the driver uses it until its end
  std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t next_ = 0, running_ = 0, done_ = 0, kept_ = 0, refused_ = 0;
  std::exception_ptr error_;
};

}  // namespace

int run_bench(const BenchOptions& options, const cli::po::variables_map& values) {
  return Bench(options, values).run();
}

}  // namespace longrope::bench
