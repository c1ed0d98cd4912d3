#include "search/cli/session.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "kernels/error.hpp"

namespace longrope::cli {
namespace {

constexpr std::int64_t kMaxThreads = 4096;
constexpr std::int64_t kMaxWindows = 1'000'000;

std::unique_ptr<kernels::Backend> make_backend(const std::string& name, const std::string& precision) {
  const auto p = precision == "bf16" ? kernels::Precision::bf16 : kernels::Precision::f32;
  if (name == "cuda") return kernels::make_cuda_backend(p);
  return kernels::make_cpu_backend(p);  // auto: the CPU is the only backend this build has
}

}  // namespace

po::options_description session_options() {
  po::options_description options("Model, text and device");
  const std::string threads = std::to_string(std::max(1U, std::thread::hardware_concurrency()));
  options.add_options()("model", po::value<std::string>(),
                        "checkpoint directory, Hugging Face layout: config.json, safetensors, tokenizer.model")(
      "text", po::value<std::vector<std::string>>()->multitoken(), "UTF-8 text files, one document each")(
      "tokens", po::value<std::string>(), "token ids instead of text: .h5 (/documents/NAME), .npy, .u16 or .u32")(
      "windows", po::value<std::string>()->default_value("5"), "how many windows are scored; the same for every table")(
      "protocol", po::value<std::string>()->default_value("window"),
      "window (LongRoPE's: BOS, every next token scored), stride:S (transformers' recipe, S in tokens) or half "
      "(llama.cpp's)")("backend", po::value<std::string>()->default_value("auto"), "auto, cpu or cuda")(
      "precision", po::value<std::string>()->default_value("f32"), "arithmetic of the matrix products: f32 or bf16")(
      "rope-precision", po::value<std::string>()->default_value("exact"),
      "exact (angles in double) or hf (float32 angles, cos and sin in the activation type, as transformers)")(
      "threads", po::value<std::string>()->default_value(threads), "threads; does not change the result");
  return options;
}

Session::Session(const po::variables_map& values) {
  model_directory_ = require_option(values, "model");
  const bool has_text = values.count("text") != 0;
  const bool has_tokens = values.count("tokens") != 0;
  if (has_text == has_tokens) {
    throw InputError(has_text ? "[usage] --text and --tokens exclude each other (give one)"
                              : "[usage] --text or --tokens is missing (see --help)");
  }
  window_count_ = parse_integer("windows", values["windows"].as<std::string>(), 1, kMaxWindows);
  protocol_ = model::Protocol::parse(values["protocol"].as<std::string>());
  const auto backend = values["backend"].as<std::string>();
  check_choice("backend", backend, {"auto", "cpu", "cuda"});
  precision_name_ = values["precision"].as<std::string>();
  if (precision_name_ == "fp8") throw InputError("[--precision] fp8 needs the CUDA backend (use f32 or bf16)");
  check_choice("precision", precision_name_, {"f32", "bf16"});
  rotation_precision_name_ = values["rope-precision"].as<std::string>();
  check_choice("rope-precision", rotation_precision_name_, {"exact", "hf"});
  rotation_precision_ =
      rotation_precision_name_ == "hf" ? kernels::RotationPrecision::hf : kernels::RotationPrecision::exact;
  const std::int64_t threads = parse_integer("threads", values["threads"].as<std::string>(), 1, kMaxThreads);
  threads_ = std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism,
                                                   static_cast<std::size_t>(threads));
  backend_ = make_backend(backend, precision_name_);

  const model::ModelConfig config = model::read_model_config(model_directory_);
  if (has_text) {
    const auto names = values["text"].as<std::vector<std::string>>();
    corpus_ = model::read_text(model_directory_, {names.begin(), names.end()}, config.vocabulary, config.bos_token_id);
  } else {
    corpus_ = model::read_tokens(model_directory_, values["tokens"].as<std::string>(), config.vocabulary,
                                 config.bos_token_id);
  }
  transformer_ = std::make_unique<model::Transformer>(model_directory_, *backend_);
}

std::string Session::numerics() const {
  return fmt::format("{}/{}/{}", backend_->name(), precision_name_, rotation_precision_name_);
}

}  // namespace longrope::cli
