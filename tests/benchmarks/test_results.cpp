// The output file: what is written is read back, and a bench goes on where it stopped.
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "experiments/benchmarks/strategies/bench.hpp"
#include "experiments/benchmarks/strategies/results.hpp"
#include "kernels/error.hpp"
#include "search/cli/session.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;         // NOLINT(google-build-using-namespace)
using namespace longrope::bench;  // NOLINT(google-build-using-namespace)

namespace {

/// A directory that goes away with the test.
struct Directory {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("strategy_bench_test-" + std::to_string(getpid()));
  Directory() { std::filesystem::create_directories(path); }
  ~Directory() { std::filesystem::remove_all(path); }
};

int run_with(const std::vector<std::string>& arguments) {
  cli::po::options_description all;
  all.add(bench_options()).add(cli::session_options());
  cli::po::variables_map values;
  REQUIRE(cli::parse_options("", all, arguments, values));
  return run_bench(parse_bench_options(values), values);
}

RunRecord example() {
  RunRecord run;
  run.key = {"books-2048", "auto", 3, 150, "driver"};
  run.identity = "weights 12";
  run.setup = "";
  run.cost = {0.5, 1.5};
  run.best = {std::nan(""), 23.25};
  run.final_factors = {1.0, 2.0, 3.0};
  run.yarn = 24.5;
  run.held_out_checkpoint = 30.25;
  run.model_s = 12.0;
  run.threads = 2;
  return run;
}

}  // namespace

TEST_CASE("results are read back as they were written") {
  const Directory directory;
  const auto file = directory.path / "r.h5";
  RunRecord other = example();
  other.key.strategy = "paper-ga";
  {
    Results results(file);
    results.add(example());
    results.add(other);
    RunRecord again = example();
    again.key.budget = 151;
    again.held_out_checkpoint = 29.0;
    results.add(again);  // of the same problem, strategy and seed: takes its place
    CHECK(results.runs().size() == 2);
  }
  const Results results(file);
  REQUIRE(results.runs().size() == 2);
  const RunRecord& run = results.runs()[0];
  CHECK(run.key == RunKey{"books-2048", "auto", 3, 151, "driver"});
  CHECK(run.identity == "weights 12");
  CHECK(run.cost == std::vector<double>{0.5, 1.5});
  REQUIRE(run.best.size() == 2);
  CHECK(std::isnan(run.best[0]));
  CHECK(run.best[1] == 23.25);
  CHECK(run.final_factors == std::vector<double>{1.0, 2.0, 3.0});
  CHECK(run.checkpoint_factors.empty());
  CHECK(run.yarn == 24.5);
  CHECK(std::isnan(run.pi));
  CHECK(run.held_out_checkpoint == 29.0);
  CHECK(run.model_s == 12.0);
  CHECK(run.threads == 2);
  CHECK(results.has({"books-2048", "auto", 3, 151, "driver"}));
  CHECK_FALSE(results.has({"books-2048", "auto", 3, 150, "driver"}));
  CHECK_FALSE(results.has({"books-2048", "auto", 3, 151, "ask-tell"}));
  CHECK_NOTHROW(results.require_same_problem("books-2048", "weights 12"));
  CHECK_NOTHROW(results.require_same_problem("books-8192", "weights 13"));
  CHECK_THROWS_AS(results.require_same_problem("books-2048", "weights 13"), InputError);
  CHECK_FALSE(std::filesystem::exists(file.string() + ".partial"));
}

TEST_CASE("a file of something else is refused") {
  const Directory directory;
  const auto file = directory.path / "text.h5";
  std::ofstream(file) << "no HDF5";
  CHECK_THROWS_AS(Results(file), InputError);
}

TEST_CASE("a bench goes on where it stopped, and parallel runs give the same bits") {
  const Directory directory;
  const std::string one = (directory.path / "one.h5").string(), two = (directory.path / "two.h5").string();
  const auto arguments = [](const std::string& out, const char* seeds, const char* strategies, const char* parallel) {
    return std::vector<std::string>{"--out",        out,        "--problem",       "wall-32,rough-32",
                                    "--strategies", strategies, "--budget",        "70",
                                    "--seeds",      seeds,      "--parallel-runs", parallel};
  };
  CHECK(run_with(arguments(one, "1", "paper-ga", "1")) == cli::kDone);
  CHECK(Results(one).runs().size() == 2);
  // A mark in a finished run shows whether it was made again.
  {
    Results results(one);
    RunRecord marked = results.runs()[0];
    marked.elapsed_s = 12345.0;
    results.add(marked);
  }
  CHECK(run_with(arguments(one, "2", "paper-ga,release-ga", "1")) == cli::kDone);
  const Results resumed(one);
  REQUIRE(resumed.runs().size() == 8);
  CHECK(resumed.runs()[0].elapsed_s == 12345.0);

  CHECK(run_with(arguments(two, "2", "paper-ga,release-ga", "4")) == cli::kDone);
  const Results parallel(two);
  REQUIRE(parallel.runs().size() == 8);
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(parallel.runs()[i].key == resumed.runs()[i].key);
    CHECK(parallel.runs()[i].best == resumed.runs()[i].best);
    CHECK(parallel.runs()[i].best.size() == 70);
    CHECK(parallel.runs()[i].final_factors == resumed.runs()[i].final_factors);
  }

  auto redo = arguments(one, "1", "paper-ga", "1");
  redo.insert(redo.end(), {"--redo", "paper-ga"});
  CHECK(run_with(redo) == cli::kDone);
  const Results redone(one);
  REQUIRE(redone.runs().size() == 8);
  CHECK(redone.runs()[0].elapsed_s < 12345.0);
  CHECK(redone.runs()[0].best == resumed.runs()[0].best);
}

TEST_CASE("options that cannot be are refused by name") {
  const Directory directory;
  const std::string out = (directory.path / "x.h5").string();
  const auto message = [&](std::vector<std::string> more) -> std::string {
    more.insert(more.end(), {"--out", out});
    try {
      run_with(more);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message({"--problem", "wal-32"}).find("[--problem]") == 0);
  CHECK(message({"--strategies", "nonesuch"}).find("[--strategies]") == 0);
  CHECK(message({"--budget", "nonesuch=3"}).find("[--budget]") == 0);
  CHECK(message({"--budget", "paper-ga=0"}).find("[--budget]") == 0);
  CHECK(message({"--through", "tunnel"}).find("[--through]") == 0);
  CHECK(message({"--racing", "0.95"}).find("[--racing]") == 0);
  CHECK(message({"--racing", "0.4", "--through", "driver"}).find("[--racing]") == 0);
  CHECK(message({"--seeds", "0"}).find("[--seeds]") == 0);
  CHECK(message({"--problem", "model", "--target-length", "2048"}).find("--model") != std::string::npos);
}
