#include "search/cli/chain/repair_stage.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/cli/search_report.hpp"
#include "search/cli/session.hpp"
#include "search/cli/stage_setup.hpp"
#include "search/frontier_pick.hpp"
#include "search/make_space.hpp"
#include "search/store_table.hpp"

namespace longrope::cli {
namespace {

constexpr double kMaxFactor = 1e5;

/// The perplexities of the checkpoint as it was before it was extended, on the windows that the repair will score.
std::vector<double> score_original(const Session& session, const RepairArguments& arguments,
                                   const model::RopeTable& table) {
  search::ObjectiveWindows windows = search::make_objective_windows(
      session.corpus(), session.protocol(), arguments.search.objectives, session.window_count(), {});  // all ppl
  const search::PerplexityEvaluator evaluator(session.lanes(), std::move(windows.windows), std::move(windows.tokens),
                                              session.rotation_precision());
  return search::evaluate_all(evaluator, std::vector{table}, arguments.search.objectives.size(), {}, &stop_requested())
      .front()
      .objectives;
}

model::RopeTable plain_table(const model::ModelConfig& config, const std::string& spec) {
  return model::make_rope_table(model::RopeSpec::parse(spec), config, config.rope.original_length);
}

/// What the search must beat: the long table, none under the long attention factor (what engines apply to a short table
/// of ones), half of the long one in ln λ; and with several lengths the plain model, for rules like short:2%.
std::vector<search::BaselineTable> make_baselines(const model::ModelConfig& config, const model::RopeTable& long_table,
                                                  const search::Space& space, std::size_t objectives) {
  const std::vector<double> ones(long_table.factors.size(), 1.0);
  std::vector<double> half;
  for (const double factor : long_table.factors) half.push_back(std::sqrt(factor));
  const auto table = [&](const std::vector<double>& factors) {
    return model::RopeTable::from_factors(config.rope, factors, space.attention_factor, space.start_tokens);
  };
  std::vector<search::BaselineTable> baselines{{"long", long_table}, {"identity", table(ones)}, {"half", table(half)}};
  if (objectives > 1) baselines.push_back({"plain", model::RopeTable::from_factors(config.rope, ones, 1.0, 0)});
  return baselines;
}

nlohmann::ordered_json by_objective(const std::vector<double>& values, const search::StageOptions& options) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (std::size_t k = 0; k < options.objectives.size() && k < values.size(); ++k)
    json[options.objectives[k].to_string()] = values[k];
  return json;
}

}  // namespace

po::options_description repair_options() {
  po::options_description options("Repair");
  options.add_options()("length", po::value<std::string>(),
                        "lengths to recover, comma-separated, at most L0 (default: L0)")(
      "max-factor", po::value<std::string>(),
      "largest factor of the short table (default: 1.25 sqrt(s), s of the long table: LongRoPE says that the maximum "
      "is "
      "lower than for long context; its tables for 4k and 8k at 32x reach 2.8 and 3.0)")(
      "pick", po::value<std::string>()->default_value("mean"),
      "the point of the frontier that becomes the short table: mean (of ln PPL over the lengths), best, knee, short:X% "
      "or ppl@N<=X%");
  return options;
}

RepairArguments parse_repair(po::variables_map& values, std::int64_t original_length) {
  for (const char* option : {"target-length", "objective", "base"}) {
    if (values.count(option) != 0)
      throw InputError(fmt::format("[usage] --{} is not for a repair (--length says what is recovered)", option));
  }
  RepairArguments arguments;
  const std::int64_t longest = original_length > 0 ? original_length : std::int64_t{1} << 32;
  if (values.count("length") != 0)
    arguments.lengths = parse_integers("length", values["length"].as<std::string>(), 2, longest);
  else if (original_length > 0)
    arguments.lengths = {original_length};
  const std::vector<std::int64_t> lengths =
      arguments.lengths.empty() ? std::vector<std::int64_t>{2} : arguments.lengths;
  std::string objectives;
  for (const std::int64_t length : lengths)
    objectives += fmt::format("{}ppl@{}", objectives.empty() ? "" : ",", length);
  values.insert({"objective", po::variable_value(objectives, false)});
  values.insert(
      {"target-length", po::variable_value(std::to_string(*std::max_element(lengths.begin(), lengths.end())), false)});
  arguments.search = parse_search(values, true);
  if (values.count("max-factor") != 0) {
    const auto text = values["max-factor"].as<std::string>();
    arguments.max_factor = parse_number("max-factor", text, 1.25, kMaxFactor);
  }
  arguments.pick = values["pick"].as<std::string>();
  return arguments;
}

RepairResult run_repair_stage(const po::variables_map& values, const RepairArguments& arguments, const RepairJob& job) {
  install_stop_signals();
  RepairResult result;
  const std::int64_t longest = *std::max_element(arguments.lengths.begin(), arguments.lengths.end());
  if (!job.original.empty()) {
    const Session session(with_model(values, job.original), longest, 1);
    result.original = score_original(session, arguments, plain_table(session.transformer().config(), "config"));
  }
  const Session session(values, longest, kTablesOfAStep);
  const model::ModelConfig& config = session.transformer().config();
  if (job.original.empty()) result.original = score_original(session, arguments, plain_table(config, "none"));
  const model::RopeTable long_table = search::long_table(job.long_table, config);
  const double scale = std::max(
      1.0, static_cast<double>(job.long_table.target_length) / static_cast<double>(config.rope.original_length));
  const double max_factor = arguments.max_factor > 0.0 ? arguments.max_factor : 1.25 * std::sqrt(scale);
  const search::Space space =
      search::make_repair_space(config, max_factor, long_table.attention_factor, arguments.search.space);

  PreparedStage stage = prepare_stage(arguments.search, session, {job.name, job.index, job.command_line}, space);
  search::StageOptions& options = stage.options;
  options.other_stages = true;
  options.baselines = make_baselines(config, long_table, space, options.objectives.size());
  for (const search::BaselineTable& baseline : options.baselines)
    options.header.stage.baselines += (options.header.stage.baselines.empty() ? "" : ",") + baseline.name;
  options.header.stage.original_objectives = result.original;
  options.header.stage.base = job.long_table.name;
  auto decides = nlohmann::ordered_json::parse(options.header.stage.options);
  decides["max_factor"] = max_factor;
  decides["long_factors"] = long_table.factors;
  options.header.stage.options = decides.dump();
  options.pick = arguments.pick;
  options.long_table = job.long_table;
  result.search = run_prepared(
      session, stage,
      fmt::format("repair: searching {} factors from 1 to {:g} for up to {} tokens with {}, {} windows, into {}",
                  space.geometry.pairs(), max_factor, config.rope.original_length, arguments.search.strategy,
                  stage.evaluator->windows().size(), arguments.search.store));
  if (!result.search.baselines.empty()) result.long_context = result.search.baselines.front().result.objectives;
  if (result.search.chosen.candidate.id >= 0) result.repaired = result.search.chosen.result.objectives;
  result.options = options;
  result.options.holdout = nullptr;  // gone with the stage
  result.options.stop = nullptr;
  if (!result.search.interrupted() && result.search.chosen.candidate.id < 0 && result.search.best.candidate.id >= 0) {
    search::pick_from_frontier(search::read_store(arguments.search.store, job.name), arguments.pick);  // says why
  }
  return result;
}

nlohmann::ordered_json repair_json(const RepairResult& result) {
  const search::StoreTable& long_table = *result.options.long_table;
  const search::Candidate& chosen = result.search.chosen.candidate;
  nlohmann::ordered_json root = search_json(result.options, result.search);
  root["original"] = by_objective(result.original, result.options);
  root["long"] = by_objective(result.long_context, result.options);
  root["repaired"] = by_objective(result.repaired, result.options);
  root["table"] = {{"name", result.options.header.stage.name},
                   {"long_from", long_table.name},
                   {"id", chosen.id},
                   {"short_factors", chosen.factors},
                   {"short_attention_factor", chosen.attention_factor},
                   {"long_factors", long_table.long_factors},
                   {"attention_factor", long_table.attention_factor},
                   {"switch_length", result.options.space.geometry.original_length}};
  return root;
}

void print_repair(const RepairResult& result) {
  const search::StageOptions& options = result.options;
  fmt::print("short context, protocol {}, {} windows of each length; in brackets: against the original model\n\n{:<16}",
             options.header.corpus.protocol, options.header.corpus.window_length.size() / options.objectives.size(),
             "");
  for (const search::Objective& objective : options.objectives) fmt::print("  {:>20}", objective.to_string());
  fmt::print("\n");
  const auto row = [&](const char* name, const std::vector<double>& values) {
    fmt::print("{:<16}", name);
    for (std::size_t k = 0; k < values.size(); ++k) {
      fmt::print("  {:>20}",
                 fmt::format("{:.4f} ({:+.2f}%)", values[k], 100.0 * (values[k] / result.original[k] - 1.0)));
    }
    fmt::print("\n");
  };
  row("original model", result.original);
  row("long table", result.long_context);
  row("repaired table", result.repaired);
  const search::Candidate& chosen = result.search.chosen.candidate;
  if (chosen.id < 0) return;
  std::string factors;
  for (const double factor : chosen.factors) factors += fmt::format(" {:.4g}", factor);
  fmt::print("\n{} evaluations; short table: id {}, for up to {} tokens, attention factor {:.6g}\nfactors:{}\n",
             result.search.evaluations, chosen.id, options.space.geometry.original_length, chosen.attention_factor,
             factors);
  if (result.search.holdout) print_holdout(*result.search.holdout, options.objectives.front());
  fmt::print("store: {} (tables/{})\n", options.store.string(), options.header.stage.name);
}

}  // namespace longrope::cli
