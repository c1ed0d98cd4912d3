// A model's windows, scored as `longrope evaluate` scores them.
#include <fmt/core.h>
#include <tbb/global_control.h>
#include <tbb/info.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "cases.hpp"
#include "model/memory_plan.hpp"
#include "model/rope_spec.hpp"
#include "search/evaluation_cost.hpp"
#include "search/perplexity_evaluator.hpp"
#include "search/store_table.hpp"

namespace longrope::bench {
namespace {

/// One measurement: every window under every table.
struct Run {
  double seconds = 1e300;
  double perplexity = 0.0;  ///< of the first table
};

Run best_of(int repeats, const search::PerplexityEvaluator& evaluator, const std::vector<model::RopeTable>& tables,
            std::int64_t threads) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads));
  Run run;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const auto started = std::chrono::steady_clock::now();
    const auto results = search::evaluate_all(evaluator, tables, 1, {}, nullptr);
    run.seconds =
        std::min(run.seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
    run.perplexity = results.front().first();
  }
  return run;
}

search::PerplexityEvaluator evaluator_of(const cli::Session& session, std::int64_t length) {
  return {session.lanes(), session.corpus(),
          model::make_windows(session.corpus(), session.protocol(), length, session.window_count()),
          session.rotation_precision()};
}

/// Yarn at slightly different strengths: tables of one target, as a search has them.
std::vector<model::RopeTable> some_tables(const cli::Session& session, std::int64_t length, std::int64_t count) {
  std::vector<model::RopeTable> tables;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto spec = model::RopeSpec::parse(fmt::format("yarn:factor={}", 8.0 + 0.1 * static_cast<double>(i)));
    tables.push_back(search::resolve_rope_table(spec, session.transformer().config(), length));
  }
  return tables;
}

/// A field of /proc/self/status in bytes; 0 where there is none.
double status_bytes(const std::string& field) {
  std::ifstream file("/proc/self/status");
  std::string name;
  while (file >> name) {
    double kibibytes = 0.0;
    if (name == field + ":" && file >> kibibytes) return kibibytes * 1024.0;
    std::getline(file, name);
  }
  return 0.0;
}

}  // namespace

void run_evaluation(const Peaks& peaks, const cli::Session& session, std::int64_t length, std::int64_t count) {
  const auto evaluator = evaluator_of(session, length);
  double flops = 0.0;
  for (const model::Window& window : evaluator.windows()) {
    flops += search::window_flops(session.transformer().config(), window);
  }
  const std::string numerics = session.numerics();
  fmt::print("\n{} windows of {} tokens, {}, {}: {:.2f} GFLOP a window\n", evaluator.windows().size(), length, numerics,
             session.model_directory(), flops * 1e-9 / static_cast<double>(evaluator.windows().size()));
  fmt::print("  tables  threads   s/window    GF/s   of f32 peak   speed-up\n");
  const auto all = static_cast<std::int64_t>(tbb::info::default_concurrency());
  for (const std::int64_t tables : std::set<std::int64_t>{1, count}) {
    double one_thread_s = 0.0;
    for (std::int64_t threads = 1; threads <= all; threads = threads < all ? std::min(2 * threads, all) : all + 1) {
      const Run run = best_of(3, evaluator, some_tables(session, length, tables), threads);
      const auto windows = static_cast<double>(tables) * static_cast<double>(evaluator.windows().size());
      const double total_flops = flops * static_cast<double>(tables);
      if (threads == 1) one_thread_s = run.seconds;
      fmt::print("  {:>6}  {:>7}  {:>9.4f}  {:>6.1f}  {:>11.1f}%  {:>8.2f}x   PPL {:.4f}\n", tables, threads,
                 run.seconds / windows, total_flops / run.seconds * 1e-9,
                 100.0 * total_flops / run.seconds / peaks.f32.flops_per_s / static_cast<double>(threads),
                 one_thread_s / run.seconds, run.perplexity);
    }
  }
}

double resident_bytes() { return status_bytes("VmRSS"); }

void run_memory(const cli::Session& session, std::int64_t length, double before_bytes) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 1);
  const auto evaluator = evaluator_of(session, length);
  best_of(1, evaluator, some_tables(session, length, 1), 1);
  const kernels::Backend& backend = *session.lanes().lane(0).backend;
  model::MemoryPlanOptions options;
  options.window_tokens = length;
  options.free_bytes = model::host_free_bytes();
  options.preferred_chunk_tokens = backend.preferred_chunk_tokens();
  const auto plan =
      model::plan_memory(session.transformer().config(), kernels::cpu_memory_format(backend.precision(), 1), options);
  const double took = status_bytes("VmHWM") - before_bytes;
  fmt::print("\none window of {} tokens: {:.1f} MB at most beside the program's {:.1f}, planned {:.1f} ({:.2f}x)\n",
             length, took * 1e-6, before_bytes * 1e-6, static_cast<double>(plan.total_bytes()) * 1e-6,
             took / static_cast<double>(plan.total_bytes()));
}

}  // namespace longrope::bench
