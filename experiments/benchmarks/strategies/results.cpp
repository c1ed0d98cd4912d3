#include "experiments/benchmarks/strategies/results.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <system_error>

#include "kernels/error.hpp"
#include "search/hdf5_file.hpp"

namespace longrope::bench {
namespace {

using search::Hdf5Error;
using search::Hdf5Object;

constexpr std::int64_t kSchema = 1;

/// Attributes that are plain numbers of a record, with their units where they have one.
constexpr std::pair<const char*, double RunRecord::*> kNumbers[] = {
    {"optimum", &RunRecord::optimum},
    {"pi", &RunRecord::pi},
    {"ntk", &RunRecord::ntk},
    {"yarn", &RunRecord::yarn},
    {"held_out_pi", &RunRecord::held_out_pi},
    {"held_out_ntk", &RunRecord::held_out_ntk},
    {"held_out_yarn", &RunRecord::held_out_yarn},
    {"held_out_final", &RunRecord::held_out_final},
    {"held_out_at_100", &RunRecord::held_out_checkpoint},
    {"overhead_cpu_s", &RunRecord::overhead_cpu_s},
    {"overhead_wall_s", &RunRecord::overhead_wall_s},
    {"model_s", &RunRecord::model_s},
    {"elapsed_s", &RunRecord::elapsed_s},
};
constexpr std::pair<const char*, std::vector<double> RunRecord::*> kColumns[] = {
    {"cost", &RunRecord::cost},
    {"best", &RunRecord::best},
    {"final_factors", &RunRecord::final_factors},
    {"factors_at_100", &RunRecord::checkpoint_factors},
};

void write_run(const Hdf5Object& group, const RunRecord& run) {
  group.set_attribute("identity", run.identity);
  group.set_attribute("setup", run.setup);
  group.set_attribute("through", run.key.through);
  group.set_attribute("budget", run.key.budget);
  group.set_attribute("threads", run.threads);
  for (const auto& [name, member] : kNumbers) group.set_attribute(name, run.*member);
  for (const auto& [name, member] : kColumns) {
    const bool trace = member == &RunRecord::cost || member == &RunRecord::best;
    group.write_fixed(name, std::span<const double>(run.*member), trace ? "evaluation" : "pair");
  }
}

RunRecord read_run(const Hdf5Object& group, const std::string& problem, const std::string& strategy,
                   const std::string& seed) {
  RunRecord run;
  run.key = {problem, strategy, std::stoull(seed), group.i64_attribute("budget"), group.text_attribute("through")};
  run.identity = group.text_attribute("identity");
  run.setup = group.text_attribute("setup");
  run.threads = group.i64_attribute("threads");
  for (const auto& [name, member] : kNumbers) run.*member = group.f64_attribute(name);
  for (const auto& [name, member] : kColumns) {
    const Hdf5Object column = group.open_dataset(name);
    run.*member = column.read<double>(column.extents().at(0));
  }
  if (run.cost.size() != run.best.size()) throw Hdf5Error("cost and best differ in length");
  return run;
}

}  // namespace

Results::Results(std::filesystem::path file) : file_(std::move(file)) {
  std::error_code error;
  if (!std::filesystem::exists(file_, error)) return;
  const search::Hdf5Silence silence;
  try {
    const Hdf5Object root = Hdf5Object::open_reader(file_);
    if (root.i64_attribute("strategy_bench_schema") != kSchema) throw Hdf5Error("another schema");
    const Hdf5Object problems = root.open_group("runs");
    for (const std::string& problem : problems.child_names()) {
      const Hdf5Object strategies = problems.open_group(problem);
      for (const std::string& strategy : strategies.child_names()) {
        const Hdf5Object seeds = strategies.open_group(strategy);
        for (const std::string& seed : seeds.child_names())
          runs_.push_back(read_run(seeds.open_group(seed), problem, strategy, seed));
      }
    }
  } catch (const std::exception& failure) {
    throw InputError(fmt::format("[--out] {} is no file of this bench: {}", file_.string(), failure.what()));
  }
}

bool Results::has(const RunKey& key) const {
  return std::any_of(runs_.begin(), runs_.end(), [&](const RunRecord& run) { return run.key == key; });
}

void Results::require_same_problem(const std::string& name, const std::string& identity) const {
  for (const RunRecord& run : runs_) {
    if (run.key.problem == name && run.identity != identity) {
      throw InputError(fmt::format("[--out] {} holds runs of {} that was [{}] but now is [{}] (choose another file)",
                                   file_.string(), name, run.identity, identity));
    }
  }
}

void Results::add(RunRecord record) {
  const auto same = std::find_if(runs_.begin(), runs_.end(), [&](const RunRecord& run) {
    return run.key.problem == record.key.problem && run.key.strategy == record.key.strategy &&
           run.key.seed == record.key.seed;
  });
  if (same == runs_.end()) {
    runs_.push_back(std::move(record));
  } else {
    *same = std::move(record);
  }
  write();
}

void Results::write() const {
  std::map<std::string, std::map<std::string, std::map<std::uint64_t, const RunRecord*>>> tree;
  for (const RunRecord& run : runs_) tree[run.key.problem][run.key.strategy][run.key.seed] = &run;
  const std::filesystem::path partial = file_.string() + ".partial";
  const search::Hdf5Silence silence;
  try {
    Hdf5Object root = Hdf5Object::create_file(partial);
    root.set_attribute("strategy_bench_schema", kSchema);
    const Hdf5Object problems = root.create_group("runs");
    for (const auto& [problem, strategies] : tree) {
      const Hdf5Object problem_group = problems.create_group(problem);
      for (const auto& [strategy, seeds] : strategies) {
        const Hdf5Object strategy_group = problem_group.create_group(strategy);
        for (const auto& [seed, run] : seeds) write_run(strategy_group.create_group(std::to_string(seed)), *run);
      }
    }
    root.close();
    std::filesystem::rename(partial, file_);
  } catch (const std::exception& failure) {
    throw RuntimeError(fmt::format("[--out] {} cannot be written: {}", file_.string(), failure.what()));
  }
}

}  // namespace longrope::bench
