#include "model/hf_export.hpp"

#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "kernels/error.hpp"
#include "model/atomic_file.hpp"

namespace longrope::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The whole config.json with the table in it; every key that does not speak of RoPE stays as it was.
std::string exported_config(const HfExportOptions& options, const ModelConfig& config) {
  std::ifstream in(options.model_directory / "config.json", std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  Json root = Json::parse(text.str());  // checked by read_model_config
  if (root.contains("rope_parameters") && root["rope_parameters"].is_object()) {
    const Json& old = root["rope_parameters"];
    if (old.contains("partial_rotary_factor")) root["partial_rotary_factor"] = old["partial_rotary_factor"];
  }
  root.erase("rope_parameters");  // engines that find both pick one each; write rope_scaling only
  const RopeGeometry& g = config.rope;
  const ExportTables& tables = options.tables;
  const std::vector<double>& long_factor = tables.long_table.factors;
  const std::vector<double>& short_factor = tables.short_table.factors;
  // transformers v4 leaves Mistral's head_dim null, and its longrope multiplies it.
  if (config.model_type == "mistral" && (!root.contains("head_dim") || root["head_dim"].is_null())) {
    root["head_dim"] = config.head_dim;
  }
  root["max_position_embeddings"] = tables.target_length;
  root["original_max_position_embeddings"] = g.original_length;
  root["rope_theta"] = g.theta;
  if (config.model_type == "phi3") {  // transformers v4 accepts exactly these three keys
    root["rope_scaling"] = {{"type", "longrope"}, {"short_factor", short_factor}, {"long_factor", long_factor}};
  } else {
    const double attention_factor = tables.long_table.attention_factor;
    root["rope_scaling"] = {
        {"rope_type", "longrope"},
        {"short_factor", short_factor},
        {"long_factor", long_factor},
        {"factor", static_cast<double>(tables.target_length) / static_cast<double>(g.original_length)},
        {"original_max_position_embeddings", g.original_length},
        {"attention_factor", attention_factor},
        {"short_mscale", tables.short_table.attention_factor},  // vLLM and SGLang read these two
        {"long_mscale", attention_factor},
    };
  }
  return root.dump(2) + "\n";
}

/// For readers that compute the attention factor and take none.
void check_attention_factor(const HfExportOptions& options, const ModelConfig& config) {
  const bool trtllm = options.reader == HfReader::trtllm;
  if (!trtllm && config.model_type != "phi3") return;
  const ExportTables& tables = options.tables;
  const double scale = static_cast<double>(tables.target_length) / static_cast<double>(config.rope.original_length);
  const double formula = longrope_attention_factor(scale, config.rope.original_length);
  if (std::abs(tables.long_table.attention_factor - formula) <= 1e-9 * formula) return;
  throw InputError(fmt::format(
      "[export {}] {} an attention factor other than {:.9g} (sqrt(1 + ln s / ln L0)) but the table has {:.9g} "
      "(set attention_factor={:.17g} in the spec)",
      trtllm ? "trtllm" : "hf", trtllm ? "TensorRT-LLM cannot be told" : "Phi-3's config cannot carry", formula,
      tables.long_table.attention_factor, formula));
}

/// What lies beside config.json and engines read: weights linked or copied, tokenizer and generation files copied.
void bring_files(const HfExportOptions& options, const fs::path& out) {
  if (options.weights == WeightsMode::none) return;
  const std::set<std::string> suffixes = {".safetensors", ".json", ".model", ".txt", ".jinja"};
  for (const auto& entry : fs::directory_iterator(options.model_directory)) {
    const fs::path name = entry.path().filename();
    if (!entry.is_regular_file() || name == "config.json" || suffixes.count(name.extension().string()) == 0) continue;
    if (name.extension() == ".safetensors" && options.weights == WeightsMode::link) {
      fs::create_symlink(fs::canonical(entry.path()), out / name);
    } else {
      fs::copy_file(entry.path(), out / name);
    }
  }
}

}  // namespace

void check_common_limits(const ExportTables& tables, const ModelConfig& config, const std::string& format,
                         const std::string& engine) {
  if (tables.long_table.start_tokens > 0 || tables.short_table.start_tokens > 0) {
    throw InputError(fmt::format(
        "[export {}] {} cannot express start_tokens (search without --start-tokens, or set start_tokens=0 in the spec)",
        format, engine));
  }
  if (tables.target_length < config.rope.original_length) {
    throw InputError(fmt::format("[export {}] the target length must be at least the original length {} but got {}",
                                 format, config.rope.original_length, tables.target_length));
  }
}

std::vector<std::string> sliding_window_warnings(const ExportTables& tables, const ModelConfig& config) {
  for (const std::int64_t window : config.sliding_window) {
    if (window > 0 && window < tables.target_length) {
      return {fmt::format("the model's sliding window of {} tokens stays below the target length {}", window,
                          tables.target_length)};
    }
  }
  return {};
}

std::vector<std::string> check_hf_export(const HfExportOptions& options, const ModelConfig& config) {
  const bool trtllm = options.reader == HfReader::trtllm;
  const ExportTables& tables = options.tables;
  check_common_limits(tables, config, trtllm ? "trtllm" : "hf", trtllm ? "TensorRT-LLM" : "a Hugging Face config");
  check_attention_factor(options, config);
  std::vector<std::string> warnings = sliding_window_warnings(tables, config);
  if (tables.short_table.attention_factor != tables.long_table.attention_factor) {
    warnings.push_back(fmt::format("{} applies one attention factor, {:.6g}, to the short table too ({:.6g} here)",
                                   trtllm ? "TensorRT-LLM" : "transformers", tables.long_table.attention_factor,
                                   tables.short_table.attention_factor));
  }
  if (tables.switches && !trtllm && config.model_type != "phi3") {
    warnings.push_back(fmt::format(
        "transformers does not recompute the cached K and V of a {} when a sequence grows past {} tokens (use --mode "
        "static where generations cross it)",
        config.model_type, config.rope.original_length));
  }
  return warnings;
}

void write_hf_export(const HfExportOptions& options, const ModelConfig& config) {
  try {
    NewDirectory directory(options.out);
    write_new_file(directory.path() / "config.json", exported_config(options, config));
    if (!options.readme.empty()) write_new_file(directory.path() / "README.md", options.readme);
    bring_files(options, directory.path());
    directory.commit();
  } catch (const fs::filesystem_error& error) {
    throw RuntimeError(fmt::format("[{}] cannot be written: {}", options.out.string(), error.code().message()));
  }
}

}  // namespace longrope::model
