#include "search/cli/devices.hpp"

#include <fmt/core.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <optional>

#include "kernels/error.hpp"
#include "model/memory_plan.hpp"
#include "model/safetensors.hpp"
#include "search/cli/command.hpp"

namespace longrope::cli {
namespace {

constexpr std::int64_t kMaxDevices = 1024;

void say(const std::string& text) {
  live_line("");
  fmt::print(stderr, "longrope: {}\n", text);
}

kernels::Precision parse_precision(const std::string& name) {
  if (name == "bf16") return kernels::Precision::bf16;
  return name == "fp8" ? kernels::Precision::fp8 : kernels::Precision::f32;
}

kernels::AttentionPrecision parse_attention(const std::string& name) {
  return name == "fp8" ? kernels::AttentionPrecision::fp8 : kernels::AttentionPrecision::as_activations;
}

/// CUDA devices as asked: those named, or all of the first one's kind, for results must not depend on which of them
/// takes a task.
std::vector<Devices::Device> open_cuda(const DeviceOptions& options, const std::string& precision) {
  const int count = kernels::cuda_device_count();
  std::vector<std::int64_t> numbers;
  if (options.devices != "all") {
    numbers = parse_integers("devices", options.devices, 0, kMaxDevices);
  } else {
    for (int number = 0; number < count; ++number) numbers.push_back(number);
  }
  if (numbers.empty()) numbers.push_back(0);  // opening it says what is missing
  std::vector<Devices::Device> devices;
  std::string kind;
  for (const std::int64_t number : numbers) {
    const int device = static_cast<int>(number);
    if (std::any_of(devices.begin(), devices.end(), [device](const auto& d) { return d.number == device; })) {
      throw InputError(fmt::format("[--devices] must name a device once but got {} twice", device));
    }
    std::shared_ptr<const kernels::Backend> backend =
        kernels::make_cuda_backend(parse_precision(precision), device, parse_attention(options.attention));
    const std::string name = kernels::cuda_device_info(device).name;
    if (kind.empty()) kind = name;
    if (name != kind) {
      const std::string what = fmt::format("CUDA device {} is a {}, the first a {}", device, name, kind);
      if (options.devices != "all") {
        throw InputError(
            fmt::format("[--devices] must be of one kind but {} (a result would depend on which took it)", what));
      }
      if (options.verbose) say(fmt::format("[devices] {}: not used", what));
      continue;
    }
    devices.push_back({fmt::format("CUDA device {} ({})", device, name), device, std::move(backend)});
  }
  return devices;
}

std::vector<Devices::Device> open_cpu(const std::string& precision) {
  return {{"the CPU", -1, kernels::make_cpu_backend(parse_precision(precision))}};
}

std::string or_default(const std::string& precision, const char* value) {
  return precision == "auto" ? value : precision;
}

model::MemoryPlan plan_on(const Devices::Device& device, const Devices& devices, const DeviceOptions& options,
                          const model::ModelConfig& config, kernels::DType embedding, std::int64_t window_tokens,
                          std::int64_t chunk_tokens) {
  PlannedDevice planned{device.name, device.number >= 0, devices.precision, model::host_free_bytes(), 0};
  if (planned.cuda) {
    planned.host_free_bytes = planned.free_bytes / static_cast<std::int64_t>(devices.list.size());
    planned.free_bytes = kernels::cuda_device_info(device.number).free_bytes;
  }
  return plan_windows(planned, options, config, embedding, window_tokens, chunk_tokens);
}

}  // namespace

void check_attention_precision(const std::string& attention, const std::string& precision) {
  if (attention == "fp8" && precision != "fp8") {
    throw InputError(fmt::format("[--attention] fp8 needs --precision fp8 but got {}", precision));
  }
}

void check_attention_heads(const std::string& attention, const model::ModelConfig& config) {
  if (attention == "fp8" && !kernels::cuda::fp8::has_head_dim(config.head_dim)) {
    throw InputError(fmt::format("[--attention] fp8 needs a checkpoint of head_dim 64, 96 or 128 but got {} (use bf16)",
                                 config.head_dim));
  }
}

model::MemoryPlan plan_windows(const PlannedDevice& device, const DeviceOptions& options,
                               const model::ModelConfig& config, kernels::DType embedding, std::int64_t window_tokens,
                               std::int64_t chunk_tokens) {
  model::MemoryPlanOptions plan;
  plan.device = device.name;
  plan.window_tokens = window_tokens;
  plan.generation = options.generation;
  plan.embedding = embedding;
  plan.preferred_chunk_tokens = chunk_tokens;
  plan.free_bytes = device.free_bytes;
  const kernels::Precision precision = parse_precision(device.precision);
  if (device.cuda) {
    plan.host_free_bytes = device.host_free_bytes;
    plan.preferred_windows_at_once = model::windows_to_fill_gpu(config, window_tokens, chunk_tokens);
    plan.joined_at_once = true;
    plan.preferred_sequences =
        std::min(options.tasks, model::sequences_to_fill_chunk(config, window_tokens, chunk_tokens));
    return model::plan_memory(config, kernels::cuda_memory_format(precision, parse_attention(options.attention)), plan);
  }
  plan.preferred_windows_at_once = options.threads;
  plan.preferred_sequences = std::min(options.tasks, model::sequences_to_join(config, window_tokens));
  return model::plan_memory(config, kernels::cpu_memory_format(precision, options.threads), plan);
}

Devices open_devices(const DeviceOptions& options) {
  const bool named = options.devices != "all";
  if (named) parse_integers("devices", options.devices, 0, kMaxDevices);
  if (named && options.backend == "cpu")
    throw InputError("[--devices] names GPUs but got --backend cpu (leave one out)");
  if (options.backend == "cpu" && options.attention == "fp8") {
    throw InputError("[--attention] fp8 needs the CUDA backend but got --backend cpu");
  }
  check_attention_precision(options.attention, options.precision);
  if (options.backend == "cpu" && options.precision == "fp8") {
    throw InputError("[--precision] fp8 needs the CUDA backend (use f32 or bf16)");
  }
  if (options.backend == "cuda" || (options.backend == "auto" && named)) {
    const std::string precision = or_default(options.precision, "bf16");
    return {open_cuda(options, precision), precision, options.attention};
  }
  if (options.backend == "auto" && options.precision != "f32" && kernels::cuda_device_count() > 0) {
    const std::string precision = or_default(options.precision, "bf16");
    try {
      return {open_cuda(options, precision), precision, options.attention};
    } catch (const Error& error) {
      if (options.precision == "fp8") throw;
      if (options.verbose) say(fmt::format("[devices] the GPU is not used: {}", error.what()));
    }
  }
  if (options.precision == "fp8") {
    throw InputError("[--precision] fp8 needs the CUDA backend and a GPU but this has none (use f32 or bf16)");
  }
  if (options.verbose && options.backend == "auto") say("[devices] the CPU computes");
  const std::string precision = or_default(options.precision, "f32");
  return {open_cpu(precision), precision, options.attention};
}

std::unique_ptr<search::DeviceLanes> load_lanes(const Devices& devices, const DeviceOptions& options,
                                                const std::string& model_directory, const model::ModelConfig& config,
                                                std::int64_t window_tokens) {
  const model::TensorFiles files(model_directory);
  const kernels::DType embedding =
      files.require("model.embed_tokens.weight", {config.vocabulary, config.hidden_size}).dtype;
  struct Planned {
    const Devices::Device* device;
    model::MemoryPlan plan;
  };
  std::vector<Planned> planned;
  std::optional<InputError> refused;
  for (const Devices::Device& device : devices.list) {
    try {
      planned.push_back({&device, plan_on(device, devices, options, config, embedding, window_tokens,
                                          device.backend->preferred_chunk_tokens())});
    } catch (const InputError& error) {
      if (options.devices != "all") throw;
      if (!refused) refused = error;
      if (devices.list.size() > 1) say(fmt::format("warning: {} is left out: {}", device.name, error.what()));
    }
  }
  if (planned.empty()) throw InputError(*refused);
  // One chunk size on all: it decides the bits of a result.
  std::int64_t chunk_tokens = planned.front().plan.layout.chunk_tokens;
  for (const Planned& p : planned) chunk_tokens = std::min(chunk_tokens, p.plan.layout.chunk_tokens);
  for (Planned& p : planned) {
    if (p.plan.layout.chunk_tokens != chunk_tokens) {
      p.plan = plan_on(*p.device, devices, options, config, embedding, window_tokens, chunk_tokens);
    }
    if (options.verbose) say(fmt::format("[memory] {}", p.plan.describe()));
  }

  if (options.verbose && devices.cuda()) {
    say(devices.attention == "fp8" ? "[attention] e4m3 with K centred, for screening; bf16 in chunks of few rows"
                                   : "[attention] bf16");
  }

  std::vector<search::DeviceLane> lanes(planned.size());
  tbb::parallel_for(std::size_t{0}, planned.size(), [&](std::size_t i) {
    const Planned& p = planned[i];
    lanes[i] = {p.device->name, p.device->backend,
                std::make_shared<model::Transformer>(config, files, *p.device->backend, p.plan.layout),
                p.plan.windows_at_once, p.device->number >= 0};
  });
  for (std::size_t i = 0; options.verbose && i < planned.size(); ++i) {
    if (planned[i].plan.sequences > 1 && lanes[i].transformer->sequences_at_once(window_tokens) == 1) {
      say(fmt::format("[devices] {}: windows go alone, for in its products a row's bits depend on the others",
                      lanes[i].name));
    }
  }
  return std::make_unique<search::DeviceLanes>(std::move(lanes),
                                               [](const std::string& line) { say("warning: " + line); });
}

}  // namespace longrope::cli
