#include "search/cli/session.hpp"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "kernels/error.hpp"

namespace longrope::cli {

po::options_description session_options(bool windows) {
  po::options_description options("Model, text and device");
  const std::string threads = std::to_string(std::max(1U, std::thread::hardware_concurrency()));
  options.add_options()("model", po::value<std::string>(),
                        "checkpoint directory, Hugging Face layout: config.json, safetensors, tokenizer.model")(
      "text", po::value<std::vector<std::string>>()->multitoken(), "UTF-8 text files, one document each")(
      "tokens", po::value<std::string>(), "token ids instead of text: .h5 (/documents/NAME), .npy, .u16 or .u32");
  if (windows) {
    options.add_options()("windows", po::value<std::string>()->default_value("5"),
                          "how many windows are scored; the same for every table")(
        "protocol", po::value<std::string>()->default_value("window"),
        "window (LongRoPE's: BOS, every next token scored), stride:S (transformers' recipe, S in tokens) or half "
        "(llama.cpp's)");
  }
  options.add_options()("backend", po::value<std::string>()->default_value("auto"),
                        "auto (the GPU where there is one, else the CPU), cpu or cuda")(
      "devices", po::value<std::string>()->default_value("all"), "GPUs to use: all, or numbers, comma-separated")(
      "precision", po::value<std::string>()->default_value("auto"),
      "arithmetic of the matrix products: auto (bf16 on a GPU, f32 on the CPU), f32 (CPU only), bf16 or fp8 (GPU "
      "only)")(
      "attention", po::value<std::string>()->default_value("bf16"),
      "bf16 (f32 where the precision is), or fp8 (with --precision fp8): e4m3 attention with K centred, for screening: "
      "compare tables by it, then score the best in bf16")(
      "rope-precision", po::value<std::string>()->default_value("exact"),
      "exact (angles in double) or hf (float32 angles, cos and sin in the activation type, as transformers)")(
      "threads", po::value<std::string>()->default_value(threads), "threads; does not change the result")(
      "verbose", "say on stderr what is computed where, and the memory it takes");
  return options;
}

po::variables_map with_model(const po::variables_map& values, const std::string& directory) {
  po::variables_map changed = values;
  changed.erase("model");
  changed.insert({"model", po::variable_value(directory, false)});
  return changed;
}

Session::Session(const po::variables_map& values, std::int64_t longest_window, std::int64_t tables,
                 const SessionUse& use) {
  model_directory_ = require_option(values, "model");
  const bool has_text = values.count("text") != 0;
  const bool has_tokens = values.count("tokens") != 0;
  if (has_text == has_tokens && (has_text || !use.text_optional)) {
    throw InputError(has_text ? "[usage] --text and --tokens exclude each other (give one)"
                              : "[usage] --text or --tokens is missing (see --help)");
  }
  if (values.count("windows") != 0) {
    window_count_ = parse_integer("windows", values["windows"].as<std::string>(), 1, kMaxWindows);
    protocol_ = model::Protocol::parse(values["protocol"].as<std::string>());
  }
  DeviceOptions device_options;
  device_options.backend = values["backend"].as<std::string>();
  check_choice("backend", device_options.backend, {"auto", "cpu", "cuda"});
  device_options.precision = values["precision"].as<std::string>();
  check_choice("precision", device_options.precision, {"auto", "f32", "bf16", "fp8"});
  device_options.attention = values["attention"].as<std::string>();
  check_choice("attention", device_options.attention, {"bf16", "fp8"});
  device_options.devices = values["devices"].as<std::string>();
  device_options.verbose = values.count("verbose") != 0;
  rotation_precision_name_ = values["rope-precision"].as<std::string>();
  check_choice("rope-precision", rotation_precision_name_, {"exact", "hf"});
  rotation_precision_ =
      rotation_precision_name_ == "hf" ? kernels::RotationPrecision::hf : kernels::RotationPrecision::exact;
  device_options.threads = parse_integer("threads", values["threads"].as<std::string>(), 1, kMaxThreads);
  device_options.tasks = tables * std::max<std::int64_t>(1, window_count_);
  device_options.generation = use.generation;
  allow_threads(device_options.threads);
  devices_ = open_devices(device_options);

  const model::ModelConfig config = model::read_model_config(model_directory_);
  check_attention_heads(device_options.attention, config);
  if (has_text) {
    const auto names = values["text"].as<std::vector<std::string>>();
    corpus_ = model::read_text(model_directory_, {names.begin(), names.end()}, config.vocabulary, config.bos_token_id);
  } else if (has_tokens) {
    corpus_ = model::read_tokens(model_directory_, values["tokens"].as<std::string>(), config.vocabulary,
                                 config.bos_token_id);
  } else {
    corpus_.bos = model::find_bos(model_directory_, config.bos_token_id);
  }
  if (longest_window == 0) longest_window = config.rope.original_length;
  lanes_ = load_lanes(devices_, device_options, model_directory_, config, longest_window);
  std::int64_t feeders = 0;  // threads that wait for a GPU do not compute: as many as it takes windows at once
  for (std::size_t i = 0; i < lanes_->size(); ++i) {
    if (lanes_->lane(i).feeds_device) feeders += lanes_->lane(i).windows_at_once;
  }
  if (feeders >= device_options.threads) allow_threads(feeders + 1);
}

void Session::allow_threads(std::int64_t threads) {
  threads_.reset();  // the lowest of several limits holds
  threads_ = std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism,
                                                   static_cast<std::size_t>(threads));
}

std::string Session::numerics() const {
  return fmt::format("{}/{}{}/{}", devices_.list.front().backend->name(), devices_.precision,
                     devices_.attention == "fp8" ? "+fp8-attention" : "", rotation_precision_name_);
}

search::StoreModel Session::stored_model() const {
  const model::ModelConfig& config = transformer().config();
  search::StoreModel stored;
  stored.name = std::filesystem::absolute(model_directory_).lexically_normal().string();
  stored.architecture = config.architecture;
  stored.config_sha256 = config.sha256;
  stored.weights_sha256 = transformer().weights_sha256();
  stored.parameters = transformer().parameters();
  stored.rotary_dim = config.rope.rotary_dim;
  stored.original_length = config.rope.original_length;
  stored.theta = config.rope.theta;
  return stored;
}

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
}

}  // namespace longrope::cli
