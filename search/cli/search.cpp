// `longrope search`: one stage, written to a store as it goes, resumable.
#include <fmt/chrono.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/cli/command.hpp"
#include "search/cli/session.hpp"
#include "search/perplexity_evaluator.hpp"
#include "search/search_driver.hpp"
#include "search/strategy.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
using search::StageProgress;
constexpr std::int64_t kMaxLength = std::int64_t{1} << 32;
constexpr std::int64_t kMaxBudget = 100'000'000;

/// The live line, or one plain line per generation where stderr is no terminal.
class Display {
 public:
  /// `title` is printed once, when the first work is done: by then the store is open and nothing is left to refuse.
  explicit Display(std::string title) : title_(std::move(title)) {}

  void task(const StageProgress& p) {
    const std::lock_guard lock(mutex_);
    print_title();
    if (!stderr_is_terminal()) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    live_line(line(p));
  }
  void generation(const StageProgress& p) {
    const std::lock_guard lock(mutex_);
    print_title();
    if (stderr_is_terminal()) {
      live_line(line(p));
    } else {
      StageProgress finished = p;
      --finished.generation;
      fmt::print(stderr, "{}\n", line(finished));
    }
  }

 private:
  static std::string line(const StageProgress& p) {
    const std::string generation = p.generation < 0 ? "baselines" : fmt::format("generation {}", p.generation);
    std::string text = fmt::format("{:<13}  evaluations {}/{}", generation, p.evaluations, p.budget);
    if (std::isfinite(p.best_ppl)) text += fmt::format("  best PPL {:.4f}", p.best_ppl);
    if (std::isfinite(p.best_ppl) && std::isfinite(p.baseline_ppl)) {
      text += fmt::format("  gain {:.2f}%", 100.0 * (p.baseline_ppl - p.best_ppl) / p.baseline_ppl);
    }
    if (p.evaluations_per_s > 0.0) text += fmt::format("  {:.3g} evaluations/s", p.evaluations_per_s);
    if (std::isfinite(p.remaining_s)) text += fmt::format("  {} left", format_duration(p.remaining_s));
    return text;
  }

  void print_title() {
    if (!title_.empty()) fmt::print(stderr, "{}\n", title_);
    title_.clear();
  }

  std::string title_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point last_;
};

search::StoreHeader make_header(const Session& session, const search::PerplexityEvaluator& evaluator) {
  const model::ModelConfig& config = session.transformer().config();
  search::StoreHeader header;
  header.program_version = LONGROPE_VERSION;
  header.created_utc = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                                   fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
  header.model.name = std::filesystem::absolute(session.model_directory()).lexically_normal().string();
  header.model.architecture = config.architecture;
  header.model.config_sha256 = config.sha256;
  header.model.weights_sha256 = session.transformer().weights_sha256();
  header.model.parameters = session.transformer().parameters();
  header.model.rotary_dim = config.rope.rotary_dim;
  header.model.original_length = config.rope.original_length;
  header.model.theta = config.rope.theta;
  header.corpus.sources = fmt::format("{}", fmt::join(session.corpus().sources, "\n"));
  header.corpus.protocol = session.protocol().to_string();
  header.corpus.tokens_sha256 = evaluator.tokens_sha256();
  for (const model::Document& document : session.corpus().documents) {
    header.corpus.document_names.push_back(document.name);
    header.corpus.document_tokens.push_back(static_cast<std::int64_t>(document.tokens.size()));
  }
  for (const model::Window& window : evaluator.windows()) {
    header.corpus.window_document.push_back(window.document);
    header.corpus.window_first_token.push_back(window.first_token);
    header.corpus.window_length.push_back(window.length);
  }
  return header;
}

double baseline_ppl(const search::StageResult& result, std::size_t index) {
  return index < result.baselines.size() ? result.baselines[index].result.objective : std::nan("");
}

Json to_json(const search::StageOptions& options, const search::StageResult& result) {
  const search::Candidate& best = result.best.candidate;
  Json root;
  root["store"] = options.store.string();
  root["stage"] = options.header.stage.name;
  root["best"] = {{"id", best.id},
                  {"factors", best.factors},
                  {"start_tokens", best.start_tokens},
                  {"attention_factor", best.attention_factor},
                  {"ppl", best.id < 0 ? std::nan("") : result.best.result.objective}};
  Json baselines;
  for (std::size_t i = 0; i < std::size(search::kBaselineNames); ++i)
    baselines[search::kBaselineNames[i]] = baseline_ppl(result, i);
  root["baselines"] = baselines;
  root["evaluations"] = result.evaluations;
  root["cost_full_evaluations"] = result.cost_full_evaluations;
  root["elapsed_s"] = result.elapsed_s;
  root["status"] = result.interrupted ? "interrupted" : "done";
  return root;
}

void print_summary(const search::StageOptions& options, const search::StageResult& result) {
  const search::Candidate& best = result.best.candidate;
  fmt::print("target length {}, protocol {}, {} windows, strategy {}\n\n", options.header.stage.target_length,
             options.header.corpus.protocol, options.header.corpus.window_length.size(), options.strategy);
  fmt::print("{:<10}  {:>10}  {:>8}\n", "rope", "PPL", "gain");
  double best_baseline = std::nan("");
  for (std::size_t i = 0; i < std::size(search::kBaselineNames); ++i) {
    const double ppl = baseline_ppl(result, i);
    if (!(ppl >= best_baseline)) best_baseline = ppl;
    fmt::print("{:<10}  {:>10.4f}\n", search::kBaselineNames[i], ppl);
  }
  if (best.id >= 0) {
    const double ppl = result.best.result.objective;
    fmt::print("{:<10}  {:>10.4f}  {:>7.2f}%  over the best of pi, ntk and yarn\n", "searched", ppl,
               100.0 * (best_baseline - ppl) / best_baseline);
  }
  fmt::print("\n{} evaluations in {} ({:.1f} full evaluations of cost, baselines included)\n", result.evaluations,
             format_duration(result.elapsed_s), result.cost_full_evaluations);
  if (best.id >= 0) {
    std::string factors;
    for (const double factor : best.factors) factors += fmt::format(" {:.4g}", factor);
    fmt::print("best table: id {}, attention factor {:.6g}, start tokens {}\nfactors:{}\n", best.id,
               best.attention_factor, best.start_tokens, factors);
  }
  fmt::print("store: {}\n", options.store.string());
}

}  // namespace

int run_search(const std::vector<std::string>& arguments) {
  po::options_description options("Search");
  options.add_options()("target-length", po::value<std::string>(), "context to extend to, in tokens")(
      "store", po::value<std::string>(), "HDF5 file of the job, created; readable while it grows")(
      "resume", "continue the store where it stopped (starts it if it does not exist)")(
      "strategy", po::value<std::string>()->default_value("paper-ga"),
      "paper-ga (LongRoPE Algorithm 1) or release-ga (what microsoft/LongRoPE ships)")(
      "budget", po::value<std::string>()->default_value("1344"),
      "evaluations at most (one: every window at full length); the three baselines come on top")(
      "seed", po::value<std::string>()->default_value("42"), "seed of every random choice")(
      "start-tokens", po::value<std::string>()->default_value("0"),
      "leading positions that keep the original frequencies: a number, or `search` (paper-ga; 0 to 256, the paper's "
      "set)")("attention-factor", po::value<std::string>(),
              "multiplies cos and sin of every candidate (default: sqrt(1 + ln s / ln L0))")(
      "json", "print one JSON document instead of a summary");
  po::options_description all;
  all.add(session_options()).add(options);
  po::variables_map values;
  if (!parse_options("Usage: longrope search --model DIR --text FILE... --target-length N --store FILE.h5 [options]",
                     all, arguments, values)) {
    return kDone;
  }
  const std::int64_t target_length =
      parse_integer("target-length", require_option(values, "target-length"), 2, kMaxLength);
  search::StageOptions stage;
  stage.store = require_option(values, "store");
  stage.resume = values.count("resume") != 0;
  stage.strategy = values["strategy"].as<std::string>();
  check_choice("strategy", stage.strategy, search::strategy_names());
  stage.budget = parse_integer("budget", values["budget"].as<std::string>(), 1, kMaxBudget);
  const auto seed =
      parse_integer("seed", values["seed"].as<std::string>(), 0, std::numeric_limits<std::int64_t>::max());
  const auto start_tokens = values["start-tokens"].as<std::string>();
  const bool search_start_tokens = start_tokens == "search";
  if (search_start_tokens && stage.strategy != "paper-ga") {
    throw InputError(fmt::format("[--start-tokens] search needs --strategy paper-ga but got {}", stage.strategy));
  }
  const std::int64_t fixed_start_tokens =
      search_start_tokens ? 0 : parse_integer("start-tokens", start_tokens, 0, 1'000'000);
  double attention_factor = std::nan("");
  if (values.count("attention-factor") != 0) {
    const auto spec =
        model::RopeSpec::parse(fmt::format("yarn:attention_factor={}", values["attention-factor"].as<std::string>()));
    attention_factor = spec.options.at("attention_factor");
  }
  std::error_code error;
  if (!stage.resume && std::filesystem::exists(stage.store, error)) {
    throw InputError(fmt::format("[--store] {} exists already (--resume continues it; or choose another path)",
                                 stage.store.string()));
  }

  const Session session(values, target_length);
  const search::PerplexityEvaluator evaluator(
      session.lanes(), session.corpus(),
      model::make_windows(session.corpus(), session.protocol(), target_length, session.window_count()),
      session.rotation_precision());
  stage.space = search::make_space(session.transformer().config(), target_length);
  if (std::isfinite(attention_factor)) stage.space.attention_factor = attention_factor;
  stage.space.search_start_tokens = search_start_tokens;
  stage.space.start_tokens = static_cast<std::int32_t>(fixed_start_tokens);
  stage.header = make_header(session, evaluator);
  stage.header.command_line = fmt::format("longrope search {}", fmt::join(arguments, " "));
  stage.header.seed = static_cast<std::uint64_t>(seed);
  stage.header.stage.target_length = target_length;
  stage.header.stage.strategy = stage.strategy;
  stage.header.stage.budget = stage.budget;
  stage.header.stage.objectives = fmt::format("ppl@{}", target_length);
  stage.header.stage.options = Json{{"numerics", session.numerics()},
                                    {"start_tokens", start_tokens},
                                    {"attention_factor", stage.space.attention_factor}}
                                   .dump();
  stage.header.stage.status = "running";
  install_stop_signals();
  stage.stop = &stop_requested();
  Display display(fmt::format("searching {} factors for {} tokens (s = {:g}) with {}, {} windows, into {}",
                              stage.space.geometry.pairs(), target_length, stage.space.scale, stage.strategy,
                              session.window_count(), stage.store.string()));
  stage.on_task = [&](const StageProgress& p) { display.task(p); };
  stage.on_generation = [&](const StageProgress& p) { display.generation(p); };
  const search::StageResult result = search::run_stage(session.transformer(), evaluator, stage);
  live_line("");
  if (values.count("json") != 0) {
    std::cout << to_json(stage, result).dump(1) << "\n";
  } else {
    print_summary(stage, result);
  }
  if (result.interrupted) {
    fmt::print(stderr, "longrope: [search] interrupted; the store is complete, --resume continues it\n");
    return kInterrupted;
  }
  return kDone;
}

}  // namespace longrope::cli
