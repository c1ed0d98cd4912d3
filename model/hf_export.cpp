#include "model/hf_export.hpp"

#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "kernels/error.hpp"
#include "model/atomic_file.hpp"
#include "model/model_config.hpp"

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
  const std::vector<double>& long_factor = options.long_table.factors;
  const std::vector<double>& short_factor = options.short_table.factors;
  root["max_position_embeddings"] = options.target_length;
  root["original_max_position_embeddings"] = g.original_length;
  root["rope_theta"] = g.theta;
  if (config.model_type == "phi3") {  // transformers v4 accepts exactly these three keys
    root["rope_scaling"] = {{"type", "longrope"}, {"short_factor", short_factor}, {"long_factor", long_factor}};
  } else {
    const double attention_factor = options.long_table.attention_factor;
    root["rope_scaling"] = {
        {"rope_type", "longrope"},
        {"short_factor", short_factor},
        {"long_factor", long_factor},
        {"factor", static_cast<double>(options.target_length) / static_cast<double>(g.original_length)},
        {"original_max_position_embeddings", g.original_length},
        {"attention_factor", attention_factor},
        {"short_mscale", attention_factor},  // vLLM and SGLang read these two
        {"long_mscale", attention_factor},
    };
  }
  return root.dump(2) + "\n";
}

void check_expressible(const HfExportOptions& options, const ModelConfig& config) {
  if (options.long_table.start_tokens > 0 || options.short_table.start_tokens > 0) {
    throw InputError(
        "[export hf] no Hugging Face config can express start_tokens (search without --start-tokens, or set "
        "start_tokens=0 in the spec)");
  }
  if (options.target_length < config.rope.original_length) {
    throw InputError(fmt::format("[export hf] the target length must be at least the original length {} but got {}",
                                 config.rope.original_length, options.target_length));
  }
  if (config.model_type != "phi3") return;
  const double scale = static_cast<double>(options.target_length) / static_cast<double>(config.rope.original_length);
  const double formula = longrope_attention_factor(scale, config.rope.original_length);
  if (!(std::abs(options.long_table.attention_factor - formula) <= 1e-9 * formula)) {
    throw InputError(
        fmt::format("[export hf] Phi-3's config cannot carry an attention factor other than {:.9g} (sqrt(1 + ln s "
                    "/ ln L0)) but the table has {:.9g} (set attention_factor={:.17g} in the spec)",
                    formula, options.long_table.attention_factor, formula));
  }
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

std::vector<std::string> export_hf(const HfExportOptions& options) {
  const ModelConfig config = read_model_config(options.model_directory);
  check_expressible(options, config);
  std::vector<std::string> warnings;
  if (options.short_table.attention_factor != options.long_table.attention_factor) {
    warnings.push_back(fmt::format("engines apply one attention factor, {:.6g}, to the short table too ({:.6g} here)",
                                   options.long_table.attention_factor, options.short_table.attention_factor));
  }
  for (const std::int64_t window : config.sliding_window) {
    if (window > 0 && window < options.target_length) {
      warnings.push_back(fmt::format("the model's sliding window of {} tokens stays below the target length {}", window,
                                     options.target_length));
      break;
    }
  }
  try {
    NewDirectory directory(options.out);
    write_new_file(directory.path() / "config.json", exported_config(options, config));
    bring_files(options, directory.path());
    directory.commit();
  } catch (const fs::filesystem_error& error) {
    throw RuntimeError(fmt::format("[{}] cannot be written: {}", options.out.string(), error.code().message()));
  }
  return warnings;
}

}  // namespace longrope::model
