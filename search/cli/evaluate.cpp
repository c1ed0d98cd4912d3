// `longrope evaluate`: perplexity of rope specs at lengths, with the paired difference to the first spec, and beside it
// what tells whether the context is used: key-token perplexity, needle perplexity, passkeys.
#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "kernels/error.hpp"
#include "search/cli/command.hpp"
#include "search/cli/evaluate/evaluation.hpp"
#include "search/cli/needle_options.hpp"

namespace longrope::cli {
namespace {

constexpr std::int64_t kMaxPasskeys = 100'000;

}  // namespace

int run_evaluate(const std::vector<std::string>& arguments) {
  po::options_description options("Options");
  options.add_options()(
      "rope", po::value<std::vector<std::string>>()->composing(),
      "scaling to evaluate, repeatable: NAME[:ARG][:key=value,...] with NAME config, none, pi, ntk, dynamic-ntk, yarn, "
      "llama3, "
      "longrope:FILE or store:FILE[#STAGE[/ID]]; s is length/L0 unless factor= or target_length= says otherwise "
      "(default: config)")("length", po::value<std::string>(),
                           "window lengths in tokens, comma-separated (default: the checkpoint's original length)")(
      "metrics", po::value<std::string>()->default_value("ppl"),
      "what is shown, comma-separated: ppl (always), key-ppl (perplexity of the tokens that need the long context, "
      "for lengths above the short one), needle (perplexity of answers to needles), passkey (share of passkeys that "
      "are found), or all")("trials", po::value<std::string>()->default_value("4"), "passkeys at each of five depths")(
      "json", "print one JSON document instead of a table");
  po::options_description all;
  all.add(session_options()).add(options).add(key_token_options()).add(needle_task_options());
  po::variables_map values;
  if (!parse_options("Usage: longrope evaluate --model DIR --text FILE... --rope SPEC... --length N[,N] [options]", all,
                     arguments, values)) {
    return kDone;
  }
  EvaluateRequest request;
  if (values.count("rope") != 0) {
    for (const std::string& text : values["rope"].as<std::vector<std::string>>())
      request.specs.push_back(model::RopeSpec::parse(text));
  } else {
    request.specs.push_back(model::RopeSpec::parse("config"));
  }
  std::vector<std::int64_t>& lengths = request.lengths;
  if (values.count("length") != 0)
    lengths = parse_integers("length", values["length"].as<std::string>(), 2, kMaxLength);
  request.metrics = parse_metrics(values["metrics"].as<std::string>());
  request.trials = parse_integer("trials", values["trials"].as<std::string>(), 1, kMaxPasskeys);
  if (!values["trials"].defaulted() && !request.metrics.passkey)
    throw InputError("[usage] --trials needs the metric passkey, and it would do nothing");
  request.objectives = parse_objective_arguments(values, kinds_of(request.metrics));

  const Session session(values, lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end()),
                        static_cast<std::int64_t>(request.specs.size()), {false, request.metrics.passkey});
  if (lengths.empty()) lengths.push_back(session.transformer().config().rope.original_length);
  check_lengths(request, session);
  install_stop_signals();
  std::vector<EvaluateRow> rows;
  for (const std::int64_t length : lengths) {
    for (EvaluateRow& row : evaluate_length(request, session, length)) rows.push_back(std::move(row));
  }
  if (values.count("json") != 0) {
    std::cout << rows_json(session, rows).dump(1) << "\n";
  } else {
    print_rows(request, session, rows);
  }
  for (const EvaluateRow& row : rows) {
    if (row.result.status == search::Status::failed) {
      throw RuntimeError(fmt::format("[evaluate] {} at {} failed: {}", row.rope, row.length, row.result.reason));
    }
  }
  return kDone;
}

}  // namespace longrope::cli
