#include "experiments/benchmarks/strategies/model_problem.hpp"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "kernels/error.hpp"
#include "model/documents.hpp"
#include "model/rope_table.hpp"
#include "search/evaluator.hpp"
#include "search/make_space.hpp"

namespace longrope::bench {
namespace {

/// Whole evaluations: every candidate on every window.
std::vector<Score> evaluate(const search::PerplexityEvaluator& evaluator, const model::RopeGeometry& geometry,
                            std::span<const search::Candidate> candidates, const std::atomic<bool>& stop) {
  std::vector<model::RopeTable> tables;
  for (const search::Candidate& candidate : candidates) {
    tables.push_back(model::RopeTable::from_factors(geometry, candidate.factors, candidate.attention_factor,
                                                    candidate.start_tokens));
  }
  std::vector<Score> scores;
  for (const search::EvalResult& result : search::evaluate_all(evaluator, tables, 1, {}, &stop))
    scores.push_back({result.first(), result.elapsed_s});
  return scores;
}

std::unique_ptr<search::PerplexityEvaluator> make_evaluator(const cli::Session& session, const model::Corpus& corpus,
                                                            std::int64_t length, std::int64_t windows) {
  return std::make_unique<search::PerplexityEvaluator>(session.lanes(), corpus,
                                                       model::make_windows(corpus, session.protocol(), length, windows),
                                                       session.rotation_precision());
}

}  // namespace

class ModelProblem::ModelInstance : public Instance {
 public:
  explicit ModelInstance(const ModelProblem& problem)
      : problem_(problem),
        search_([&problem](std::span<const search::Candidate> candidates) {
          return evaluate(*problem.evaluator_, problem.space_.geometry, candidates, problem.stop_);
        }),
        held_out_([&problem](std::span<const search::Candidate> candidates) {
          return evaluate(*problem.held_out_evaluator_, problem.space_.geometry, candidates, problem.stop_);
        }) {}

  const search::Space& space() const override { return problem_.space_; }
  std::vector<Score> score(std::span<const search::Candidate> candidates) override { return search_.score(candidates); }
  std::vector<double> held_out(std::span<const search::Candidate> candidates) override {
    std::vector<double> values(candidates.size(), std::nan(""));
    if (!problem_.held_out_evaluator_) return values;
    const std::vector<Score> scores = held_out_.score(candidates);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = scores[i].objective;
    return values;
  }
  void expect(std::size_t runs) { search_.expect(runs); }

 private:
  const ModelProblem& problem_;
  Broker search_, held_out_;
};

ModelProblem::ModelProblem(const cli::Session& session, const ModelProblemOptions& options,
                           const std::atomic<bool>& stop)
    : session_(session), stop_(stop), name_(options.name), target_length_(options.target_length) {
  const model::ModelConfig& config = session.transformer().config();
  if (name_.empty()) {
    const auto directory = std::filesystem::absolute(session.model_directory()).lexically_normal();
    const auto last = directory.has_filename() ? directory.filename() : directory.parent_path().filename();
    name_ = fmt::format("{}-{}", last.string(), target_length_);
  }
  space_ = search::make_space(config, target_length_);
  evaluator_ = make_evaluator(session, session.corpus(), target_length_, session.window_count());
  identity_ = fmt::format("weights {}, config {}, tokens {}, length {}, {} windows, protocol {}, {}",
                          session.transformer().weights_sha256().substr(0, 16), config.sha256.substr(0, 16),
                          evaluator_->tokens_sha256().substr(0, 16), target_length_, session.window_count(),
                          session.protocol().to_string(), session.numerics());
  if (!options.held_out.empty()) {
    const model::Corpus corpus =
        model::read_text(session.model_directory(), options.held_out, config.vocabulary, config.bos_token_id);
    held_out_evaluator_ = make_evaluator(session, corpus, target_length_, options.held_out_windows);
    identity_ += fmt::format(", held-out tokens {}", held_out_evaluator_->tokens_sha256().substr(0, 16));
  }
  instance_ = std::make_shared<ModelInstance>(*this);
}

ModelProblem::~ModelProblem() = default;

std::shared_ptr<Instance> ModelProblem::instance(std::uint64_t) { return instance_; }

void ModelProblem::expect(std::size_t runs) { instance_->expect(runs); }

}  // namespace longrope::bench
