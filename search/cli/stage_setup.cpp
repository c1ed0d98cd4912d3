#include "search/cli/stage_setup.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "kernels/error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/search_report.hpp"
#include "search/holdout.hpp"

namespace longrope::cli {
namespace {

search::StoreCorpus describe_corpus(const model::Corpus& corpus, const model::Protocol& protocol,
                                    const search::PerplexityEvaluator& evaluator,
                                    std::vector<std::int64_t> needle_first, search::StoreKeyTokens key_tokens) {
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
  const auto is_there = [](std::int64_t first) { return first >= 0; };
  if (std::any_of(needle_first.begin(), needle_first.end(), is_there))
    stored.window_needle_first = std::move(needle_first);
  stored.key_tokens = std::move(key_tokens);
  return stored;
}

search::StoreHeader make_header(const Session& session, search::StoreCorpus corpus) {
  search::StoreHeader header;
  header.program_version = LONGROPE_VERSION;
  header.created_utc = utc_now();
  header.model = session.stored_model();
  header.corpus = std::move(corpus);
  return header;
}

void describe_objective(const SearchArguments& arguments, const search::Objective& objective,
                        nlohmann::ordered_json& options) {
  if (objective.kind == search::Objective::Kind::needle) {
    const model::NeedleOptions& needle = arguments.objective_arguments.needle;
    const bool text = needle.haystack == model::NeedleOptions::Haystack::text;
    options["needle"] = {{"task", model::kNeedleTaskNames[static_cast<std::size_t>(needle.task)]},
                         {"haystack", text ? "text" : "filler"}};
    if (needle.task == model::NeedleTask::passkey) options["needle"]["keys"] = {needle.key_min, needle.key_max};
    if (!needle.needle.empty()) {
      options["needle"].update({{"needle", needle.needle}, {"question", needle.question}, {"answer", needle.answer}});
    }
  } else if (objective.kind == search::Objective::Kind::key_perplexity) {
    const search::KeyTokenOptions& keys = arguments.objective_arguments.key_tokens;
    options["key_tokens"] = {
        {"rope", keys.rope}, {"context", keys.context}, {"lsd", keys.lsd_nats}, {"lcl", keys.lcl_nats}};
    if (keys.long_context != 0) options["key_tokens"]["long_context"] = keys.long_context_text();
  }
}

/// What decides the result besides model, text and the other stored attributes. Only what is not the default, so that
/// stores from before an option existed can be continued.
std::string options_json(const SearchArguments& arguments, const Session& session, const search::Space& space) {
  nlohmann::ordered_json options{{"numerics", session.numerics()},
                                 {"start_tokens", arguments.start_tokens},
                                 {"attention_factor", space.attention_factor}};
  for (const auto& [key, value] : arguments.space.stored()) options[key] = value;
  if (arguments.racing) options["racing"] = *arguments.racing;
  for (const search::Objective& objective : arguments.objectives) describe_objective(arguments, objective, options);
  // auto keeps the end of its budget for start tokens: with another budget it would be another search.
  if (arguments.strategy == "auto" && space.search_start_tokens) options["planned_budget"] = arguments.budget;
  return options.dump();
}

void read_holdout(const SearchArguments& arguments, const Session& session, model::Corpus& corpus) {
  const model::ModelConfig& config = session.transformer().config();
  corpus =
      arguments.holdout_tokens.empty()
          ? model::read_text(session.model_directory(), {arguments.holdout_text.begin(), arguments.holdout_text.end()},
                             config.vocabulary, config.bos_token_id)
          : model::read_tokens(session.model_directory(), arguments.holdout_tokens, config.vocabulary,
                               config.bos_token_id);
}

/// Windows and evaluator of held-out text, all but the key tokens.
search::ObjectiveWindows holdout_windows(const SearchArguments& arguments, const Session& session,
                                         const search::ObjectiveWindows& searched, const model::Corpus& corpus,
                                         std::set<std::string>& keys) {
  const std::int64_t count = arguments.holdout_windows > 0 ? arguments.holdout_windows : session.window_count();
  search::ObjectiveWindows windows;
  try {
    windows =
        make_windows(session, corpus, arguments.objectives, count, arguments.objective_arguments, kHoldoutTrial, keys);
  } catch (const InputError& error) {
    throw InputError(fmt::format("[--holdout-windows] the held-out text does not give them: {}", error.what()));
  }
  search::require_new_text(session.corpus(), searched, corpus, windows);
  return windows;
}

std::unique_ptr<search::PerplexityEvaluator> make_evaluator(const Session& session, search::ObjectiveWindows& windows) {
  return std::make_unique<search::PerplexityEvaluator>(session.lanes(), std::move(windows.windows),
                                                       std::move(windows.tokens), session.rotation_precision());
}

/// What a store that is continued holds of the stage; none: it is new.
std::optional<search::StoreHeader> stored_header(const SearchArguments& arguments, const std::string& stage) {
  std::error_code error;
  if (!arguments.resume || !std::filesystem::exists(arguments.store, error)) return std::nullopt;
  for (search::StoreContents& contents : search::read_stages(arguments.store)) {
    if (contents.header.stage.name == stage) return std::move(contents.header);
  }
  return std::nullopt;
}

void require_same_keys(const Session& session, const SearchArguments& arguments,
                       const search::ObjectiveWindows& windows, const search::StoreKeyTokens& stored) {
  const std::string settings =
      key_token_settings(session, arguments.objectives, arguments.objective_arguments, windows);
  if (stored.settings == settings) return;
  throw InputError(fmt::format(
      "[store] {} holds key tokens chosen by '{}' but this job's are by '{}' (--resume continues the same job only)",
      arguments.store, stored.settings, settings));
}

/// The key tokens of a stage's windows and of its held-out ones. A store that is continued has them already; it is
/// refused here if they were chosen otherwise, before the work of choosing them anew.
struct KeyTokens {
  search::StoreKeyTokens search, holdout;
};

KeyTokens choose_all(const SearchArguments& arguments, const Session& session, const std::string& stage,
                     search::ObjectiveWindows& windows, search::ObjectiveWindows* holdout) {
  KeyTokens keys;
  const auto is_key = [](const search::Objective& o) { return o.kind == search::Objective::Kind::key_perplexity; };
  if (std::none_of(arguments.objectives.begin(), arguments.objectives.end(), is_key)) return keys;
  install_stop_signals();
  const std::optional<search::StoreHeader> stored = stored_header(arguments, stage);
  search::StoreKeyTokens known;
  if (stored) {
    const std::string objectives = search::to_string(arguments.objectives);
    if (stored->stage.objectives != objectives) {
      throw InputError(
          fmt::format("[store] {} holds objectives '{}' but this job's is '{}' (--resume continues the same job only)",
                      arguments.store, stored->stage.objectives, objectives));
    }
    known = stored->corpus.key_tokens;
    require_same_keys(session, arguments, windows, known);
  }
  keys.search = mark_key_tokens(session, arguments.objectives, arguments.objective_arguments, windows, known);
  if (holdout == nullptr) return keys;
  known = stored && stored->holdout ? stored->holdout->corpus.key_tokens : search::StoreKeyTokens();
  keys.holdout = mark_key_tokens(session, arguments.objectives, arguments.objective_arguments, *holdout, known);
  return keys;
}

}  // namespace

PreparedStage prepare_stage(const SearchArguments& arguments, const Session& session, const StageIdentity& identity,
                            const search::Space& space) {
  PreparedStage prepared;
  std::set<std::string> keys;
  search::ObjectiveWindows windows = make_windows(session, session.corpus(), arguments.objectives,
                                                  session.window_count(), arguments.objective_arguments, 0, keys);
  search::ObjectiveWindows held;
  if (arguments.has_holdout()) {
    read_holdout(arguments, session, prepared.holdout_corpus);
    held = holdout_windows(arguments, session, windows, prepared.holdout_corpus, keys);
  }
  KeyTokens key_tokens =
      choose_all(arguments, session, identity.name, windows, arguments.has_holdout() ? &held : nullptr);
  prepared.evaluator = make_evaluator(session, windows);
  if (arguments.has_holdout()) prepared.holdout = make_evaluator(session, held);

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
  stage.header = make_header(session, describe_corpus(session.corpus(), session.protocol(), *prepared.evaluator,
                                                      std::move(windows.needle_first), std::move(key_tokens.search)));
  stage.header.command_line = identity.command_line;
  stage.header.seed = arguments.seed;
  if (prepared.holdout) {
    stage.header.holdout = {describe_corpus(prepared.holdout_corpus, session.protocol(), *prepared.holdout,
                                            std::move(held.needle_first), std::move(key_tokens.holdout)),
                            {},
                            ""};
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
