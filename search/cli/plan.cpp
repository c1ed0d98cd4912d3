// `longrope plan`: the memory and the arithmetic that windows of a length take on a device, before anything runs. Reads
// config.json and the header of the weights; the device may be another machine's.
#include <fmt/core.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "kernels/error.hpp"
#include "model/memory_plan.hpp"
#include "model/safetensors.hpp"
#include "search/cli/command.hpp"
#include "search/cli/devices.hpp"
#include "search/cli/session.hpp"
#include "search/evaluation_cost.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::int64_t kMaxEvaluations = 1'000'000'000;
constexpr double kMaxGigabytes = 1e6, kMaxRate = 1e9;
constexpr double kBytesPerGigabyte = 1e9, kFlopsPerTeraflop = 1e12;

struct PlanArguments {
  std::string model;
  std::vector<std::int64_t> lengths;  ///< empty: L0
  PlannedDevice device;
  DeviceOptions options;
  std::int64_t windows = 1, budget = 1;
  std::optional<double> rate;  ///< FLOP/s
  bool json = false;
};

/// One length: the plan, or why there is none.
struct PlannedLength {
  std::int64_t length = 0;
  std::optional<model::MemoryPlan> plan;
  std::string refusal;
  double window_flops = 0.0;
};

po::options_description plan_options() {
  po::options_description options("Options");
  options.add_options()("model", po::value<std::string>(), "checkpoint directory; config.json is enough")(
      "length", po::value<std::string>(),
      "window lengths in tokens, comma-separated (default: the checkpoint's original length)")(
      "backend", po::value<std::string>()->default_value("auto"),
      "cpu, cuda, or auto: the GPU of this machine, else its CPU")(
      "precision", po::value<std::string>()->default_value("auto"),
      "auto (bf16 on a GPU, f32 on the CPU), f32 (CPU only), bf16 or fp8 (GPU only)")(
      "attention", po::value<std::string>()->default_value("bf16"),
      "bf16 (f32 where the precision is), or fp8 (with --precision fp8)")(
      "memory", po::value<std::string>(),
      "memory of the device in GB of 1e9 bytes (default: what this machine has free; needed for a GPU it lacks)")(
      "host-memory", po::value<std::string>(),
      "memory of the GPU's host in GB, where a hidden state may be kept (default: what this machine has free)")(
      "threads",
      po::value<std::string>()->default_value(std::to_string(std::max(1U, std::thread::hardware_concurrency()))),
      "threads of the CPU backend")("generate", "plan a generation (needle): K and V of all layers")(
      "windows", po::value<std::string>()->default_value("1"), "windows of a full evaluation")(
      "budget", po::value<std::string>()->default_value("1"), "full evaluations of a search")(
      "rate", po::value<std::string>(), "TFLOP/s that the device sustains: also says how long the arithmetic takes")(
      "json", "print one JSON document instead of text");
  return options;
}

std::int64_t parse_gigabytes(const char* option, const po::variables_map& values) {
  return static_cast<std::int64_t>(parse_number(option, values[option].as<std::string>(), 1e-3, kMaxGigabytes) *
                                   kBytesPerGigabyte);
}

PlanArguments parse_plan(const po::variables_map& values) {
  PlanArguments a;
  a.model = require_option(values, "model");
  if (values.count("length") != 0)
    a.lengths = parse_integers("length", values["length"].as<std::string>(), 2, kMaxLength);
  const std::string backend = values["backend"].as<std::string>();
  check_choice("backend", backend, {"auto", "cpu", "cuda"});
  const std::string precision = values["precision"].as<std::string>();
  check_choice("precision", precision, {"auto", "f32", "bf16", "fp8"});
  a.options.attention = values["attention"].as<std::string>();
  check_choice("attention", a.options.attention, {"bf16", "fp8"});
  check_attention_precision(a.options.attention, precision);
  const bool here = kernels::cuda_device_count() > 0;
  PlannedDevice& device = a.device;
  device.cuda = backend == "cuda" || (backend == "auto" && here && precision != "f32");
  device.precision = precision == "auto" ? (device.cuda ? "bf16" : "f32") : precision;
  if (device.cuda && precision == "f32")
    throw InputError("[--precision] f32 is for the CPU (a GPU multiplies bf16 or fp8)");
  if (!device.cuda && precision == "fp8") throw InputError("[--precision] fp8 needs a GPU (--backend cuda)");
  device.name = device.cuda ? "the GPU" : "the CPU";
  if (values.count("memory") != 0) {
    device.free_bytes = parse_gigabytes("memory", values);
  } else if (!device.cuda) {
    device.free_bytes = model::host_free_bytes();
  } else if (here) {
    const kernels::DeviceInfo info = kernels::cuda_device_info(0);
    device.name = fmt::format("CUDA device 0 ({})", info.name);
    device.free_bytes = info.free_bytes;
  } else {
    throw InputError("[--memory] must be given in GB: this machine has no GPU to ask");
  }
  if (values.count("host-memory") != 0 && !device.cuda)
    throw InputError("[--host-memory] is for a GPU's host, but the CPU is planned (--memory)");
  device.host_free_bytes =
      values.count("host-memory") != 0 ? parse_gigabytes("host-memory", values) : model::host_free_bytes();
  a.options.threads = parse_integer("threads", values["threads"].as<std::string>(), 1, kMaxThreads);
  a.options.generation = values.count("generate") != 0;
  a.windows = parse_integer("windows", values["windows"].as<std::string>(), 1, kMaxWindows);
  a.budget = parse_integer("budget", values["budget"].as<std::string>(), 1, kMaxEvaluations);
  a.options.tasks = kTablesOfAStep;
  if (values.count("rate") != 0)
    a.rate = parse_number("rate", values["rate"].as<std::string>(), 1e-6, kMaxRate) * kFlopsPerTeraflop;
  a.json = values.count("json") != 0;
  return a;
}

/// How the embedding is stored; bf16 where the weights are not there yet.
kernels::DType embedding_of(const std::string& directory, const model::ModelConfig& config) {
  const std::filesystem::path path(directory);
  if (!std::filesystem::exists(path / "model.safetensors") &&
      !std::filesystem::exists(path / "model.safetensors.index.json")) {
    fmt::print(stderr, "longrope: [plan] {} has no weights yet: taken to be bf16\n", directory);
    return kernels::DType::bf16;
  }
  return model::TensorFiles(path).require("model.embed_tokens.weight", {config.vocabulary, config.hidden_size}).dtype;
}

PlannedLength plan_length(const PlanArguments& a, const model::ModelConfig& config, kernels::DType embedding,
                          std::int64_t length) {
  PlannedLength planned;
  planned.length = length;
  model::Window window;
  window.length = length;
  planned.window_flops = search::window_flops(config, window);
  try {
    planned.plan = plan_windows(a.device, a.options, config, embedding, length,
                                a.device.cuda ? kernels::kCudaChunkTokens : kernels::kCpuChunkTokens);
  } catch (const InputError& error) {
    planned.refusal = error.what();
  }
  return planned;
}

Json to_json(const PlannedLength& p, const PlanArguments& a) {
  Json json{{"length", p.length}, {"fits", p.plan.has_value()}};
  if (p.plan) {
    const model::MemoryPlan& m = *p.plan;
    json["chunk_tokens"] = m.layout.chunk_tokens;
    json["hidden_on_host"] = m.layout.hidden_on_host;
    json["sequences"] = m.sequences;
    json["windows_at_once"] = m.windows_at_once;
    json["bytes"] = {{"weights", m.weights_bytes}, {"fixed", m.fixed_bytes},       {"hidden", m.hidden_bytes},
                     {"kv", m.kv_bytes},           {"rotation", m.rotation_bytes}, {"workspace", m.workspace_bytes},
                     {"scratch", m.scratch_bytes}, {"host", m.host_bytes},         {"total", m.total_bytes()}};
  } else {
    json["reason"] = p.refusal;
  }
  const double evaluation = p.window_flops * static_cast<double>(a.windows);
  json["flops"] = {{"window", p.window_flops},
                   {"full_evaluation", evaluation},
                   {"budget", evaluation * static_cast<double>(a.budget)}};
  if (a.rate) json["budget_s"] = evaluation * static_cast<double>(a.budget) / *a.rate;
  return json;
}

void print_length(const PlannedLength& p, const PlanArguments& a) {
  fmt::print("{}\n", p.plan->describe());
  const double evaluation = p.window_flops * static_cast<double>(a.windows);
  const auto line = [&](const std::string& what, double flops) {
    fmt::print("  {:<34} {:>12.4g} TFLOP{}\n", what, flops / kFlopsPerTeraflop,
               a.rate ? fmt::format("  {}", format_duration(flops / *a.rate)) : "");
  };
  line("one window, every token scored", p.window_flops);
  if (a.windows > 1) line(fmt::format("a full evaluation, {} windows", a.windows), evaluation);
  if (a.budget > 1) {
    line(fmt::format("a search of {} full evaluations", a.budget), evaluation * static_cast<double>(a.budget));
  }
  fmt::print("\n");
}

}  // namespace

int run_plan(const std::vector<std::string>& texts) {
  po::variables_map values;
  if (!parse_options("Usage: longrope plan --model DIR [--length N[,N]] [--backend cuda --memory GB] [options]\n\n"
                     "Exit code 2 where a length does not fit.",
                     plan_options(), texts, values)) {
    return kDone;
  }
  PlanArguments arguments = parse_plan(values);
  const model::ModelConfig config = model::read_model_config(arguments.model);
  check_attention_heads(arguments.options.attention, config);
  const kernels::DType embedding = embedding_of(arguments.model, config);
  if (arguments.lengths.empty()) arguments.lengths = {config.rope.original_length};
  Json lengths = Json::array();
  const PlannedLength* refused = nullptr;
  std::vector<PlannedLength> planned;
  for (const std::int64_t length : arguments.lengths)
    planned.push_back(plan_length(arguments, config, embedding, length));
  for (const PlannedLength& p : planned) {
    if (!p.plan && refused == nullptr) refused = &p;
    if (arguments.json) {
      lengths.push_back(to_json(p, arguments));
    } else if (p.plan) {
      print_length(p, arguments);
    }
  }
  if (arguments.json) {
    const PlannedDevice& d = arguments.device;
    std::cout << Json{{"model", arguments.model},
                      {"device",
                       {{"name", d.name},
                        {"precision", d.precision},
                        {"attention", arguments.options.attention},
                        {"free_bytes", d.free_bytes}}},
                      {"generation", arguments.options.generation},
                      {"windows", arguments.windows},
                      {"budget", arguments.budget},
                      {"lengths", lengths}}
                     .dump(1)
              << "\n";
  }
  if (refused != nullptr) throw InputError(refused->refusal);
  return kDone;
}

}  // namespace longrope::cli
