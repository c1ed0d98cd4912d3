// A checkpoint and texts as a problem: the perplexity of windows under a candidate's table.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/benchmarks/strategies/broker.hpp"
#include "experiments/benchmarks/strategies/problem.hpp"
#include "experiments/benchmarks/strategies/run.hpp"
#include "search/cli/session.hpp"
#include "search/perplexity_evaluator.hpp"

namespace longrope::bench {

struct ModelProblemOptions {
  std::string name;                             ///< of the results; empty: the checkpoint's directory and the length
  std::int64_t target_length = 0;               ///< tokens, >= 2
  std::vector<std::filesystem::path> held_out;  ///< text files; empty: nothing is held out
  std::int64_t held_out_windows = 3;
};

/// The only place of the bench that evaluates models.
class ModelProblem : public Problem {
 public:
  /// `session` and `stop` must outlive this. Throws InputError: texts too short, no such files.
  ModelProblem(const cli::Session& session, const ModelProblemOptions& options, const std::atomic<bool>& stop);
  ~ModelProblem() override;

  std::string name() const override { return name_; }
  std::string identity() const override { return identity_; }
  std::shared_ptr<Instance> instance(std::uint64_t seed) override;
  /// How many runs may ask at the same time.
  void expect(std::size_t runs);

  /// Runs a strategy through search_driver with a store in the temporary directory, which is removed; the cost is what
  /// the rows say. `racing`: confidence, none: off. Throws InputError, Interrupted.
  RunRecord run_through_driver(const RunKey& key, std::optional<double> racing);

 private:
  class ModelInstance;

  const cli::Session& session_;
  const std::atomic<bool>& stop_;
  std::string name_, identity_;
  std::int64_t target_length_;
  search::Space space_;
  std::unique_ptr<search::PerplexityEvaluator> evaluator_, held_out_evaluator_;
  std::shared_ptr<ModelInstance> instance_;
};

}  // namespace longrope::bench
