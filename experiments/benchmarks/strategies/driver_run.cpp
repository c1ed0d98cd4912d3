// A strategy run as `longrope search` runs it: by search_driver, into a store.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "experiments/benchmarks/strategies/model_problem.hpp"
#include "kernels/error.hpp"
#include "search/objective.hpp"
#include "search/search_driver.hpp"
#include "search/store.hpp"
#include "search/strategy_requirements.hpp"

namespace longrope::bench {
namespace {

/// A file name that is this run's alone; the file is removed with it.
class TemporaryStore {
 public:
  explicit TemporaryStore(const RunKey& key)
      : path_(std::filesystem::temp_directory_path() /
              fmt::format("strategy_bench-{}-{}-{}-{}.h5", getpid(), key.problem, key.strategy, key.seed)) {
    remove();
  }
  ~TemporaryStore() { remove(); }
  TemporaryStore(const TemporaryStore&) = delete;
  TemporaryStore& operator=(const TemporaryStore&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  void remove() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  std::filesystem::path path_;
};

search::StoreHeader make_header(const cli::Session& session, const search::PerplexityEvaluator& evaluator,
                                const RunKey& key, std::int64_t target_length) {
  const model::ModelConfig& config = session.transformer().config();
  search::StoreHeader header;
  header.command_line = "strategy_bench";
  header.seed = key.seed;
  header.model.architecture = config.architecture;
  header.model.rotary_dim = config.rope.rotary_dim;
  header.model.original_length = config.rope.original_length;
  header.model.theta = config.rope.theta;
  header.corpus.protocol = session.protocol().to_string();
  for (const model::Document& document : session.corpus().documents) {
    header.corpus.document_names.push_back(document.name);
    header.corpus.document_tokens.push_back(static_cast<std::int64_t>(document.tokens.size()));
  }
  for (const model::Window& window : evaluator.windows()) {
    header.corpus.window_document.push_back(window.document);
    header.corpus.window_first_token.push_back(window.first_token);
    header.corpus.window_length.push_back(window.length);
  }
  header.stage.target_length = target_length;
  header.stage.strategy = key.strategy;
  header.stage.budget = key.budget;
  header.stage.objectives = fmt::format("ppl@{}", target_length);
  header.stage.options = "{}";
  header.stage.status = "running";
  return header;
}

}  // namespace

RunRecord ModelProblem::run_through_driver(const RunKey& key, std::optional<double> racing) {
  const TemporaryStore store(key);
  search::StageOptions options;
  options.store = store.path();
  options.header = make_header(session_, *evaluator_, key, target_length_);
  options.strategy = key.strategy;
  options.space = search::original_space(key.strategy, space_);
  options.objectives = {search::Objective{search::Objective::Kind::perplexity, target_length_}};
  options.budget = key.budget;
  options.racing = racing;
  options.stop = &stop_;
  const search::StageResult result = search::run_stage(session_.transformer().config(), *evaluator_, options);
  if (result.interrupted()) throw Interrupted("[strategy_bench] stopped");

  RunRecord record;
  record.key = key;
  record.elapsed_s = result.elapsed_s;
  record.overhead_wall_s = result.strategy_s;
  Trace trace;
  for (const search::StoreRow& row : search::read_store(store.path()).rows) {
    if (row.candidate.generation < 0) continue;  // PI, NTK and YaRN come on top, for every strategy alike
    trace.add(row.candidate, row.result.first(), row.result.cost, row.result.complete());
    record.model_s += row.result.elapsed_s;
  }
  describe_instance(*instance(key.seed), trace, record);
  return record;
}

}  // namespace longrope::bench
