// The bench's output: one HDF5 file, one group /runs/PROBLEM/STRATEGY/SEED a finished run. Written anew with every run
// that ends (temporary name, rename), so what a kill leaves is a whole file, and a bench started again goes on.
#pragma once

#include <filesystem>
#include <vector>

#include "experiments/benchmarks/strategies/run.hpp"

namespace longrope::bench {

class Results {
 public:
  /// Reads what `file` holds; nothing if it does not exist. Throws InputError: not such a file.
  explicit Results(std::filesystem::path file);

  const std::vector<RunRecord>& runs() const { return runs_; }
  bool has(const RunKey& key) const;
  /// Throws InputError if the file holds runs of a problem of this name that was another one.
  void require_same_problem(const std::string& name, const std::string& identity) const;

  /// Adds a run, in place of one of the same problem, strategy and seed, and writes the file. Throws RuntimeError.
  void add(RunRecord record);

 private:
  void write() const;

  std::filesystem::path file_;
  std::vector<RunRecord> runs_;
};

}  // namespace longrope::bench
