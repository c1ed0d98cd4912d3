#include "search/cli/search_options.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/cli/needle_options.hpp"
#include "search/strategy.hpp"
#include "search/strategy_requirements.hpp"

namespace longrope::cli {
namespace {

constexpr std::int64_t kMaxBudget = 100'000'000;
constexpr double kDefaultConfidence = 0.95;

/// Algorithms of the papers and textbook ones, which run as they were written: whole evaluations, to their own count.
constexpr const char* kBaselines[] = {"paper-ga", "release-ga", "piece-ga", "longrope2-ga", "random", "nsga2"};
constexpr std::int64_t kOurBudget = 100, kOurPatience = 40;

bool is_baseline(const std::string& strategy) {
  return std::find(std::begin(kBaselines), std::end(kBaselines), strategy) != std::end(kBaselines);
}

/// What the algorithm spends as its paper or its code has it.
std::int64_t default_budget(const std::string& strategy) {
  if (!is_baseline(strategy)) return kOurBudget;
  return strategy == "piece-ga" ? 128 + 80 * 64 : 64 + 40 * 32;
}

std::optional<double> number_of(const std::string& text) {
  double value = 0.0;
  const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || stop != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

void parse_factors(const std::string& text, search::SpaceOptions& space) {
  if (text == "monotone") return;
  if (text == "free") {
    space.monotonicity = search::Monotonicity::free;
    return;
  }
  const std::size_t colon = text.find(':');
  if (text.substr(0, colon) != "tolerant")
    throw InputError(
        fmt::format("[--factors] must be one of monotone, tolerant[:TOLERANCE], free but got \"{}\"", text));
  space.monotonicity = search::Monotonicity::tolerant;
  if (colon == std::string::npos) return;
  const std::optional<double> tolerance = number_of(text.substr(colon + 1));
  if (!tolerance || !(*tolerance >= 0.0))
    throw InputError(
        fmt::format("[--factors] the tolerance must be a number from 0 but got \"{}\"", text.substr(colon + 1)));
  space.monotone_tolerance = *tolerance;
}

void parse_critical(const std::string& text, search::SpaceOptions& space) {
  if (text == "computed" || text == "searched") {
    space.critical = text == "computed" ? search::CriticalDimension::computed : search::CriticalDimension::searched;
    return;
  }
  const std::optional<double> number = number_of(text);
  if (!number)
    throw InputError(
        fmt::format("[--critical-dimension] must be computed, searched or a pair index but got \"{}\"", text));
  space.critical = search::CriticalDimension::fixed;
  space.critical_pair = parse_integer("critical-dimension", text, 0, 4096);
}

void parse_attention(const std::string& text, search::SpaceOptions& space) {
  if (text == "formula") return;
  if (text == "search") {
    space.search_attention_factor = true;
    return;
  }
  const auto spec = model::RopeSpec::parse(fmt::format("yarn:attention_factor={}", text));
  space.attention_factor = spec.options.at("attention_factor");
}

std::optional<double> parse_racing(const std::string& text, const std::string& strategy) {
  if (text == "auto") return is_baseline(strategy) ? std::nullopt : std::optional(kDefaultConfidence);
  if (text == "on") return kDefaultConfidence;
  if (text == "off") return std::nullopt;
  const std::optional<double> confidence = number_of(text);
  if (!confidence || !(*confidence > 0.5 && *confidence < 1.0)) {
    throw InputError(
        fmt::format("[--racing] must be off, on, auto or a confidence above 0.5 and below 1 but got \"{}\"", text));
  }
  return confidence;
}

void parse_holdout(const po::variables_map& values, SearchArguments& arguments) {
  if (values.count("holdout-text") != 0) arguments.holdout_text = values["holdout-text"].as<std::vector<std::string>>();
  if (values.count("holdout-tokens") != 0) arguments.holdout_tokens = values["holdout-tokens"].as<std::string>();
  if (!arguments.holdout_text.empty() && !arguments.holdout_tokens.empty())
    throw InputError("[usage] --holdout-text and --holdout-tokens exclude each other (give one)");
  if (values.count("holdout-windows") == 0) return;
  if (!arguments.has_holdout()) throw InputError("[usage] --holdout-windows needs --holdout-text or --holdout-tokens");
  arguments.holdout_windows =
      parse_integer("holdout-windows", values["holdout-windows"].as<std::string>(), 1, kMaxWindows);
}

}  // namespace

po::options_description search_options() {
  po::options_description options("Search");
  options.add_options()("target-length", po::value<std::string>(), "context to extend to, in tokens")(
      "store", po::value<std::string>(), "HDF5 file of the job, created; readable while it grows")(
      "resume", "continue the store where it stopped (starts it if it does not exist)")(
      "objective", po::value<std::string>(),
      "what to minimise: ppl@LENGTH (perplexity), key-ppl@LENGTH (of the tokens that need the long context), "
      "needle@LENGTH (of the answers to needles in haystacks), or several with commas, the main one first (lengths in "
      "tokens, each with --windows windows of its own; ppl and key-ppl of one length share theirs and cost one; "
      "default: "
      "ppl@TARGET)")("strategy", po::value<std::string>()->default_value(search::kDefaultStrategy),
                     fmt::format("{}", fmt::join(search::strategy_names(), ", ")).c_str())(
      "budget", po::value<std::string>(),
      "full evaluations at most: every window of every objective, counted in FLOPs; the baselines come on top "
      "(default: "
      "what the published algorithms spend, 1344 (piece-ga 5248); 100 for others)")(
      "seed", po::value<std::string>()->default_value("42"), "seed of every random choice")(
      "racing", po::value<std::string>()->default_value("auto"),
      "drop a candidate before all windows are scored when its paired differences to the best say with this confidence "
      "that it is worse: off, on (0.95), a number, or auto (off for the published algorithms)")(
      "patience", po::value<std::string>(),
      "stop when nothing has moved for that many full evaluations; 0: never (default: 0 for the published algorithms, "
      "40 "
      "for others)")("json", "print one JSON document instead of a summary");
  po::options_description space("What is searched");
  space.add_options()(
      "factors", po::value<std::string>()->default_value("monotone"),
      "order of the factors: monotone, tolerant[:TOLERANCE] (drops up to it, in units of a factor; 0.01) "
      "or free")("bounds", po::value<std::string>(),
                 "longrope (1 to 1.25 s) or longrope2 (s to 2 s from the critical dimension on, 1 to s "
                 "below); default: as the strategy's paper, else longrope")(
      "critical-dimension", po::value<std::string>(),
      "LongRoPE2's: computed (first pair whose period exceeds L0), searched, or a pair index; default: as "
      "the strategy's paper, else computed")(
      "start-tokens", po::value<std::string>()->default_value("off"),
      "leading positions that keep the original frequencies: off, a number of tokens, or search (0 to 256, the paper's "
      "set)")("attention-factor", po::value<std::string>()->default_value("formula"),
              "multiplies cos and sin: formula (sqrt(1 + ln s / ln L0)), a number, or search")(
      "base", po::value<std::string>(),
      "rope spec whose factors the searched ones multiply, for a model already extended; s is then the target over the "
      "base's own length");
  po::options_description holdout("Held-out text");
  holdout.add_options()(
      "holdout-text", po::value<std::vector<std::string>>()->multitoken(),
      "UTF-8 files that the search does not see: scores the best, the runner-up and the baselines once "
      "at the end and says whether the gain is significant")("holdout-tokens", po::value<std::string>(),
                                                             "token ids instead, as --tokens")(
      "holdout-windows", po::value<std::string>(), "windows of it, per objective (default: as --windows)");
  options.add(key_token_options()).add(needle_task_options()).add(space).add(holdout);
  return options;
}

SearchArguments parse_search(const po::variables_map& values, bool store_may_exist) {
  SearchArguments arguments;
  arguments.target_length = parse_integer("target-length", require_option(values, "target-length"), 2, kMaxLength);
  arguments.store = require_option(values, "store");
  arguments.resume = values.count("resume") != 0;
  arguments.json = values.count("json") != 0;
  arguments.strategy = values["strategy"].as<std::string>();
  check_choice("strategy", arguments.strategy, search::strategy_names());
  arguments.budget = default_budget(arguments.strategy);
  if (values.count("budget") != 0)
    arguments.budget = parse_integer("budget", values["budget"].as<std::string>(), 1, kMaxBudget);
  arguments.seed = static_cast<std::uint64_t>(
      parse_integer("seed", values["seed"].as<std::string>(), 0, std::numeric_limits<std::int64_t>::max()));
  arguments.objectives = search::parse_objectives(
      values.count("objective") != 0 ? values["objective"].as<std::string>() : "ppl", arguments.target_length);
  arguments.objective_arguments = parse_objective_arguments(values, arguments.objectives);
  arguments.racing = parse_racing(values["racing"].as<std::string>(), arguments.strategy);
  arguments.patience = is_baseline(arguments.strategy) ? 0.0 : static_cast<double>(kOurPatience);
  if (values.count("patience") != 0) {
    arguments.patience =
        static_cast<double>(parse_integer("patience", values["patience"].as<std::string>(), 0, kMaxBudget));
  }
  search::SpaceOptions& space = arguments.space;
  parse_factors(values["factors"].as<std::string>(), space);
  const search::StrategyRequirements original = search::strategy_requirements(arguments.strategy);
  space.bounds = original.bounds.value_or(space.bounds);
  space.critical = original.critical.value_or(space.critical);
  if (values.count("bounds") != 0) {
    const auto bounds = values["bounds"].as<std::string>();
    check_choice("bounds", bounds, {"longrope", "longrope2"});
    space.bounds = bounds == "longrope" ? search::FactorBounds::longrope : search::FactorBounds::longrope2;
  }
  if (values.count("critical-dimension") != 0) parse_critical(values["critical-dimension"].as<std::string>(), space);
  arguments.start_tokens = values["start-tokens"].as<std::string>();
  if (arguments.start_tokens == "off") arguments.start_tokens = "0";
  space.search_start_tokens = arguments.start_tokens == "search";
  if (!space.search_start_tokens)
    space.start_tokens = static_cast<std::int32_t>(parse_integer("start-tokens", arguments.start_tokens, 0, 1'000'000));
  parse_attention(values["attention-factor"].as<std::string>(), space);
  if (values.count("base") != 0) {
    space.base = values["base"].as<std::string>();
    model::RopeSpec::parse(space.base);
  }
  parse_holdout(values, arguments);
  std::error_code error;
  if (!store_may_exist && !arguments.resume && std::filesystem::exists(arguments.store, error)) {
    throw InputError(
        fmt::format("[--store] {} exists already (--resume continues it; or choose another path)", arguments.store));
  }
  return arguments;
}

}  // namespace longrope::cli
