// cpu_bench: how near the CPU backend comes to what this machine can do. Every figure stands beside the peak measured
// in the same run; one case at a time, so that nothing else is running.
#include <fmt/core.h>
#include <hwy/targets.h>
#include <stdlib.h>

#include <set>
#include <sstream>

#include "cases.hpp"
#include "kernels/error.hpp"
#include "search/cli/command.hpp"

namespace {

namespace cli = longrope::cli;
namespace po = boost::program_options;
using namespace longrope::bench;

int run(const std::vector<std::string>& arguments) {
  po::options_description options("Options");
  options.add_options()("cases", po::value<std::string>()->default_value("products,attention,evaluation"),
                        "what to measure, comma-separated: products, attention, evaluation, decode, memory")(
      "length", po::value<std::int64_t>()->default_value(2048), "tokens of a window")(
      "tables", po::value<std::int64_t>()->default_value(8), "RoPE tables scored at once")(
      "attention-length", po::value<std::int64_t>()->default_value(4096), "tokens of the attention cases")(
      "avx2", "compute as on a processor without AVX-512");
  po::options_description all;
  all.add(cli::session_options()).add(options);
  po::variables_map values;
  if (!cli::parse_options("Usage: cpu_bench [--cases ...] --model DIR --text FILE... [options]", all, arguments,
                          values)) {
    return 0;
  }
  std::set<std::string> cases;
  std::istringstream list(values["cases"].as<std::string>());
  for (std::string name; std::getline(list, name, ',');) {
    if (name != "products" && name != "attention" && name != "evaluation" && name != "decode" && name != "memory") {
      throw longrope::InputError(fmt::format("[usage] no case is named '{}' (see --help)", name));
    }
    cases.insert(name);
  }
  const auto asked = [&](const char* name) { return cases.count(name) != 0; };
  for (const char* name : {"length", "tables", "attention-length"}) {
    if (values[name].as<std::int64_t>() < 1) {
      throw longrope::InputError(fmt::format("[usage] --{} must be at least 1 (see --help)", name));
    }
  }
  const std::int64_t length = values["length"].as<std::int64_t>();
  const bool avx2 = values.count("avx2") != 0;
  if (avx2) {
    if ((hwy::SupportedTargets() & HWY_AVX2) == 0)
      throw longrope::InputError("[usage] --avx2 needs a processor with AVX2");
    hwy::SetSupportedTargetsForTest(HWY_AVX2);
    ::setenv("DNNL_MAX_CPU_ISA", "AVX2", 1);  // of oneDNN, which reads it at its first call
  }
  const Peaks peaks{measure_f32_peak(avx2), avx2 ? Peak{} : measure_bf16_peak()};
  fmt::print("peak of one core: f32 {:.1f} GF/s ({})", peaks.f32.flops_per_s * 1e-9, peaks.f32.instruction);
  if (peaks.bf16.flops_per_s > 0.0) {
    fmt::print(", bf16 {:.1f} GF/s ({})", peaks.bf16.flops_per_s * 1e-9, peaks.bf16.instruction);
  }
  fmt::print("\n");
  if (asked("products")) run_products(peaks);
  if (asked("attention")) run_attention(peaks, values["attention-length"].as<std::int64_t>());
  if (asked("evaluation") || asked("decode") || asked("memory")) {
    const double before_bytes = resident_bytes();
    const cli::Session session(values, length, asked("evaluation") ? values["tables"].as<std::int64_t>() : 1);
    if (asked("evaluation")) run_evaluation(peaks, session, length, values["tables"].as<std::int64_t>());
    if (asked("decode")) run_decode(session, length);
    if (asked("memory")) run_memory(session, length, before_bytes);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const longrope::InputError& error) {
    fmt::print(stderr, "cpu_bench: {}\n", error.what());
    return cli::kUsage;
  } catch (const std::exception& error) {
    fmt::print(stderr, "cpu_bench: {}\n", error.what());
    return cli::kFailed;
  }
}
