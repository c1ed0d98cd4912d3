#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "experiments/benchmarks/strategies/analytic.hpp"
#include "experiments/benchmarks/strategies/bench.hpp"
#include "experiments/benchmarks/strategies/peers.hpp"
#include "kernels/error.hpp"
#include "search/strategy.hpp"

namespace longrope::bench {
namespace {

constexpr std::int64_t kMaxCount = 1'000'000;
constexpr std::int64_t kBaselineBudget = 1344;  // LongRoPE's: 64 + 40 (16 + 16)
constexpr std::int64_t kAutoBudget = 150;

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    if (comma > begin) parts.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return parts;
}

std::vector<std::string> all_strategies() {
  std::vector<std::string> names = search::strategy_names();
  const std::vector<std::string> peers = peer_names();
  names.insert(names.end(), peers.begin(), peers.end());
  return names;
}

std::vector<std::string> parse_strategies(const std::string& option, const std::string& text) {
  if (text == "all") return all_strategies();
  const std::vector<std::string> names = split(text);
  for (const std::string& name : names) cli::check_choice(option, name, all_strategies());
  if (names.empty()) throw InputError(fmt::format("[--{}] must name a strategy but got \"{}\"", option, text));
  return names;
}

std::optional<double> parse_racing(const std::string& text) {
  if (text == "off") return std::nullopt;
  double value = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || !(value > 0.5 && value < 1.0))
    throw InputError(fmt::format("[--racing] must be off or a confidence above 0.5 and below 1 but got \"{}\"", text));
  return value;
}

}  // namespace

std::int64_t BenchOptions::budget_of(const std::string& strategy) const {
  const auto own = budgets.find(strategy);
  if (own != budgets.end()) return own->second;
  const auto general = budgets.find("");
  if (general != budgets.end()) return general->second;
  return strategy == "auto" ? kAutoBudget : kBaselineBudget;
}

cli::po::options_description bench_options() {
  namespace po = cli::po;
  po::options_description options("Bench");
  options.add_options()("problem", po::value<std::string>()->default_value("analytic"),
                        fmt::format("comma-separated: model (--model, --text, --target-length), analytic (all of the "
                                    "following), {}",
                                    fmt::join(analytic_names(), ", "))
                            .c_str())(
      "strategies", po::value<std::string>()->default_value("all"),
      fmt::format("all, or comma-separated of {}", fmt::join(all_strategies(), ", ")).c_str())(
      "seeds", po::value<std::string>()->default_value("5"), "how many seeds of every strategy")(
      "first-seed", po::value<std::string>()->default_value("1"), "the first of them")(
      "budget", po::value<std::string>()->default_value(""),
      "full evaluations: N for all, NAME=N for one, comma-separated (default: 1344, auto=150)")(
      "parallel-runs", po::value<std::string>()->default_value("1"),
      "runs at the same time; what they ask for together is evaluated together")(
      "max-seconds", po::value<std::string>()->default_value("0"),
      "stop after so many seconds with what is finished stored; 0: never")(
      "through", po::value<std::string>()->default_value("ask-tell"),
      "ask-tell, or driver: strategies on a model run as `longrope search` runs them, into a temporary store, "
      "one after another")("racing", po::value<std::string>()->default_value("off"),
                           "off, or with --through driver the confidence at which candidates of strategies other than "
                           "the published algorithms "
                           "are dropped, as 0.99")("redo", po::value<std::string>()->default_value(""),
                                                   "strategies whose finished runs are made again")(
      "out", po::value<std::string>(), "HDF5 file of results; runs it holds already are skipped")(
      "name", po::value<std::string>()->default_value(""),
      "names the model problem in the results (default: the checkpoint's directory and the length)")(
      "target-length", po::value<std::string>(), "context to extend to, in tokens")(
      "holdout-text", po::value<std::vector<std::string>>()->multitoken(),
      "text files that no search sees; the best tables are scored there once")(
      "holdout-windows", po::value<std::string>()->default_value("3"), "windows of it");
  return options;
}

BenchOptions parse_bench_options(const cli::po::variables_map& values) {
  const auto text = [&](const char* option) { return values[option].as<std::string>(); };
  BenchOptions options;
  for (const std::string& name : split(text("problem"))) {
    if (name == "analytic") {
      const std::vector<std::string> all = analytic_names();
      options.problems.insert(options.problems.end(), all.begin(), all.end());
    } else {
      if (name != "model") make_analytic_problem(name);  // refuses what it does not know
      options.problems.push_back(name);
    }
  }
  if (options.problems.empty()) throw InputError("[--problem] must name a problem but names none");
  options.strategies = parse_strategies("strategies", text("strategies"));
  if (!text("redo").empty()) options.redo = parse_strategies("redo", text("redo"));
  options.seeds = cli::parse_integer("seeds", text("seeds"), 1, kMaxCount);
  options.first_seed = cli::parse_integer("first-seed", text("first-seed"), 0, kMaxCount);
  for (const std::string& part : split(text("budget"))) {
    const std::size_t equals = part.find('=');
    const std::string name = equals == std::string::npos ? "" : part.substr(0, equals);
    if (!name.empty()) cli::check_choice("budget", name, all_strategies());
    options.budgets[name] = cli::parse_integer("budget", part.substr(equals + 1), 1, kMaxCount);
  }
  options.parallel_runs = cli::parse_integer("parallel-runs", text("parallel-runs"), 1, 1024);
  options.max_s = static_cast<double>(cli::parse_integer("max-seconds", text("max-seconds"), 0, 1'000'000'000));
  cli::check_choice("through", text("through"), {"ask-tell", "driver"});
  options.through_driver = text("through") == "driver";
  options.racing = parse_racing(text("racing"));
  if (options.racing && !options.through_driver) throw InputError("[--racing] needs --through driver");
  options.out = cli::require_option(values, "out");
  return options;
}

}  // namespace longrope::bench
