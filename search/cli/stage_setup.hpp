// From options and a session to a stage that the driver can run: windows, held-out text, space and the header of its
// store. What search, progressive and repair share.
#pragma once

#include <memory>
#include <string>

#include "search/cli/search_options.hpp"
#include "search/cli/session.hpp"
#include "search/perplexity_evaluator.hpp"
#include "search/search_driver.hpp"

namespace longrope::cli {

/// The session must outlive it.
struct PreparedStage {
  std::unique_ptr<search::PerplexityEvaluator> evaluator;
  model::Corpus holdout_corpus;
  std::unique_ptr<search::PerplexityEvaluator> holdout;  ///< null: there is none
  search::StageOptions options;                          ///< points to holdout
};

/// What a stage is apart from its options.
struct StageIdentity {
  std::string name = "main";
  std::int32_t index = 0;
  std::string command_line;
};

/// Everything but the space, which `arguments` describe for a search and a repair makes its own.
PreparedStage prepare_stage(const SearchArguments& arguments, const Session& session, const StageIdentity& identity,
                            const search::Space& space);

/// Runs it with the live display; `title` is printed first.
search::StageResult run_prepared(const Session& session, PreparedStage& stage, const std::string& title);

}  // namespace longrope::cli
