// From --backend, --precision and --devices to the model on one or several devices.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.hpp"
#include "model/memory_plan.hpp"
#include "model/model_config.hpp"
#include "search/device_lanes.hpp"

namespace longrope::cli {

/// The options, as given.
struct DeviceOptions {
  std::string backend = "auto";    ///< auto, cpu or cuda
  std::string precision = "auto";  ///< auto, f32, bf16 or fp8
  std::string attention = "bf16";  ///< bf16 (as the precision says) or fp8
  std::string devices = "all";     ///< all, or CUDA device numbers, comma-separated
  std::int64_t threads = 1;
  std::int64_t tasks = 1;   ///< windows of one length under all tables that there are to score, about
  bool generation = false;  ///< each lane runs a model::Generator of window_tokens instead of windows
  bool verbose = false;     ///< what was chosen and planned, on stderr
};

/// Backends that were opened. Nothing of a model is on them yet.
struct Devices {
  struct Device {
    std::string name;  ///< in messages: "the CPU", "CUDA device 0 (NVIDIA H200)"
    int number = -1;   ///< of a CUDA device; -1: the CPU
    std::shared_ptr<const kernels::Backend> backend;
  };
  std::vector<Device> list;
  std::string precision;  ///< f32, bf16 or fp8
  std::string attention;  ///< as in DeviceOptions

  bool cuda() const { return list.front().number >= 0; }
};

/// Throws InputError where attention in fp8 is asked for with a precision that is not, or for heads it is not made for.
void check_attention_precision(const std::string& attention, const std::string& precision);
void check_attention_heads(const std::string& attention, const model::ModelConfig& config);

/// What a plan must know of a device, which may be another machine's.
struct PlannedDevice {
  std::string name;  ///< in messages
  bool cuda = false;
  std::string precision;             ///< f32, bf16 or fp8
  std::int64_t free_bytes = 0;       ///< of its memory
  std::int64_t host_free_bytes = 0;  ///< for a hidden state that a GPU streams
};

/// Memory for windows of up to `window_tokens`; of `options` the attention, threads, tasks and generation count.
/// chunk_tokens: as the backend prefers. Throws InputError where nothing fits.
model::MemoryPlan plan_windows(const PlannedDevice& device, const DeviceOptions& options,
                               const model::ModelConfig& config, kernels::DType embedding, std::int64_t window_tokens,
                               std::int64_t chunk_tokens);

/// Chooses and opens. `auto` takes all GPUs of the first one's kind where this program can use them at this precision,
/// else the CPU; the precision is then bf16 on a GPU and f32 on the CPU. Throws InputError for options that contradict
/// each other or ask for what is not there.
Devices open_devices(const DeviceOptions& options);

/// Plans memory for windows of up to `window_tokens` on each (or for as many Generators of that capacity), then loads
/// the model on all at once. A GPU of several that has too little memory is left out with a warning, unless it was
/// named. Throws InputError where nothing fits.
std::unique_ptr<search::DeviceLanes> load_lanes(const Devices& devices, const DeviceOptions& options,
                                                const std::string& model_directory, const model::ModelConfig& config,
                                                std::int64_t window_tokens);

}  // namespace longrope::cli
