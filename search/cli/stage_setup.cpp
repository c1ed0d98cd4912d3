#include "search/cli/stage_setup.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "kernels/error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/search_report.hpp"
#include "search/holdout.hpp"

namespace longrope::cli {
namespace {

search::StoreCorpus describe_corpus(const model::Corpus& corpus, const model::Protocol& protocol,
                                    const search::PerplexityEvaluator& evaluator) {
  search::StoreCorpus stored;
  stored.sources = fmt::format("{}", fmt::join(corpus.sources, "\n"));
  stored.protocol = protocol.to_string();
  stored.tokens_sha256 = evaluator.tokens_sha256();
  for (const model::Document& document : corpus.documents) {
    stored.document_names.push_back(document.name);
    stored.document_tokens.push_back(std::ssize(document.tokens));
  }
  for (const model::Window& window : evaluator.windows()) {
    stored.window_document.push_back(window.document);
    stored.window_first_token.push_back(window.first_token);
    stored.window_length.push_back(window.length);
  }
  return stored;
}

search::StoreHeader make_header(const Session& session, const search::PerplexityEvaluator& evaluator) {
  search::StoreHeader header;
  header.program_version = LONGROPE_VERSION;
  header.created_utc = utc_now();
  header.model = session.stored_model();
  header.corpus = describe_corpus(session.corpus(), session.protocol(), evaluator);
  return header;
}

/// What decides the result besides model, text and the other stored attributes. Only what is not the default, so that
/// stores from before an option existed can be continued.
std::string options_json(const SearchArguments& arguments, const Session& session, const search::Space& space) {
  nlohmann::ordered_json options{{"numerics", session.numerics()},
                                 {"start_tokens", arguments.start_tokens},
                                 {"attention_factor", space.attention_factor}};
  for (const auto& [key, value] : arguments.space.stored()) options[key] = value;
  if (arguments.racing) options["racing"] = *arguments.racing;
  // auto keeps the end of its budget for start tokens: with another budget it would be another search.
  if (arguments.strategy == "auto" && space.search_start_tokens) options["planned_budget"] = arguments.budget;
  return options.dump();
}

void read_holdout(const SearchArguments& arguments, const Session& session, PreparedStage& stage) {
  const model::ModelConfig& config = session.transformer().config();
  stage.holdout_corpus =
      arguments.holdout_tokens.empty()
          ? model::read_text(session.model_directory(), {arguments.holdout_text.begin(), arguments.holdout_text.end()},
                             config.vocabulary, config.bos_token_id)
          : model::read_tokens(session.model_directory(), arguments.holdout_tokens, config.vocabulary,
                               config.bos_token_id);
  const std::int64_t count = arguments.holdout_windows > 0 ? arguments.holdout_windows : session.window_count();
  std::vector<model::Window> windows;
  try {
    windows = search::make_objective_windows(stage.holdout_corpus, session.protocol(), arguments.objectives, count);
  } catch (const InputError& error) {
    throw InputError(fmt::format("[--holdout-windows] the held-out text does not give them: {}", error.what()));
  }
  search::require_new_text(session.corpus(), stage.evaluator->windows(), stage.holdout_corpus, windows);
  stage.holdout = std::make_unique<search::PerplexityEvaluator>(session.lanes(), stage.holdout_corpus, windows,
                                                                session.rotation_precision());
}

}  // namespace

PreparedStage prepare_stage(const SearchArguments& arguments, const Session& session, const StageIdentity& identity,
                            const search::Space& space) {
  PreparedStage prepared;
  prepared.evaluator = std::make_unique<search::PerplexityEvaluator>(
      session.lanes(), session.corpus(),
      search::make_objective_windows(session.corpus(), session.protocol(), arguments.objectives,
                                     session.window_count()),
      session.rotation_precision());
  if (arguments.has_holdout()) read_holdout(arguments, session, prepared);

  search::StageOptions& stage = prepared.options;
  stage.store = arguments.store;
  stage.resume = arguments.resume;
  stage.strategy = arguments.strategy;
  stage.budget = arguments.budget;
  stage.objectives = arguments.objectives;
  stage.racing = arguments.racing;
  stage.patience = arguments.patience;
  stage.holdout = prepared.holdout.get();
  stage.space = space;
  stage.header = make_header(session, *prepared.evaluator);
  stage.header.command_line = identity.command_line;
  stage.header.seed = arguments.seed;
  if (prepared.holdout) {
    stage.header.holdout = {describe_corpus(prepared.holdout_corpus, session.protocol(), *prepared.holdout), {}, ""};
  }
  search::StoreStage& stored = stage.header.stage;
  stored.name = identity.name;
  stored.index = identity.index;
  stored.target_length = arguments.target_length;
  stored.strategy = stage.strategy;
  stored.budget = stage.budget;
  stored.objectives = search::to_string(stage.objectives);
  stored.base = arguments.space.base;
  stored.base_factors = stage.space.base_factors;
  stored.options = options_json(arguments, session, stage.space);
  stored.status = "running";
  return prepared;
}

search::StageResult run_prepared(const Session& session, PreparedStage& stage, const std::string& title) {
  install_stop_signals();
  stage.options.stop = &stop_requested();
  Display display(title);
  stage.options.on_task = [&](const search::StageProgress& p) { display.task(p); };
  stage.options.on_generation = [&](const search::StageProgress& p) { display.generation(p); };
  search::StageResult result = search::run_stage(session.transformer().config(), *stage.evaluator, stage.options);
  live_line("");
  return result;
}

}  // namespace longrope::cli
