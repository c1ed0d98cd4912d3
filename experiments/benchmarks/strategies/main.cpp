// `strategy_bench`: best-so-far against cost of search strategies and outside peers, on formulas and on models.
#include <fmt/core.h>

#include <string>
#include <vector>

#include "experiments/benchmarks/strategies/bench.hpp"
#include "kernels/error.hpp"
#include "search/cli/session.hpp"

namespace {

int run(const std::vector<std::string>& arguments) {
  using namespace longrope;  // NOLINT(google-build-using-namespace)
  cli::po::options_description all;
  all.add(bench::bench_options()).add(cli::session_options());
  cli::po::variables_map values;
  const char* usage =
      "Usage: strategy_bench --out FILE.h5 [--problem NAMES] [--strategies NAMES] [options]\n"
      "       strategy_bench --out FILE.h5 --problem model --model DIR --text FILE... --target-length N [options]";
  if (!cli::parse_options(usage, all, arguments, values)) return cli::kDone;
  return bench::run_bench(bench::parse_bench_options(values), values);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const longrope::InputError& error) {
    fmt::print(stderr, "strategy_bench: {}\n", error.what());
    return longrope::cli::kUsage;
  } catch (const std::exception& error) {
    fmt::print(stderr, "strategy_bench: {}\n", error.what());
    return longrope::cli::kFailed;
  }
}
