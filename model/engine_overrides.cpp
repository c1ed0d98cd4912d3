#include "model/engine_overrides.hpp"

#include <fmt/format.h>

#include "kernels/error.hpp"
#include "model/hf_export.hpp"
#include "model/json_input.hpp"

namespace longrope::model {
namespace {

using Json = nlohmann::ordered_json;

/// transformers v4 knows rope_scaling only, and v5 takes it for rope_parameters; vLLM documents the newer name.
const char* rope_key(OverrideEngine engine) {
  return engine == OverrideEngine::vllm ? "rope_parameters" : "rope_scaling";
}

}  // namespace

std::string shell_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::vector<std::string> check_overrides(OverrideEngine engine, const ExportTables& tables, const ModelConfig& config) {
  const bool vllm = engine == OverrideEngine::vllm;
  check_common_limits(tables, config, vllm ? "vllm" : "sglang", vllm ? "vLLM" : "SGLang");
  std::vector<std::string> warnings = sliding_window_warnings(tables, config);
  if (tables.switches && !vllm) {
    warnings.push_back(
        fmt::format("SGLang takes the long table for every request of a batch in which one passes {} tokens, and keeps "
                    "K and V cached "
                    "under the other (use --mode static)",
                    config.rope.original_length));
  }
  return warnings;
}

std::string override_json(OverrideEngine engine, const ExportTables& tables, const ModelConfig& config) {
  const RopeGeometry& g = config.rope;
  Json rope = {{"rope_type", "longrope"}, {"rope_theta", g.theta}};
  if (g.rotary_dim != config.head_dim) {
    rope["partial_rotary_factor"] = static_cast<double>(g.rotary_dim) / static_cast<double>(config.head_dim);
  }
  rope["original_max_position_embeddings"] = g.original_length;
  rope["short_mscale"] = tables.short_table.attention_factor;
  rope["long_mscale"] = tables.long_table.attention_factor;
  rope["short_factor"] = tables.short_table.factors;
  rope["long_factor"] = tables.long_table.factors;
  Json root;
  root["max_position_embeddings"] = tables.target_length;
  if (engine == OverrideEngine::sglang) {
    root["rope_theta"] = g.theta;  // where its model files read it beside the dictionary
    root["original_max_position_embeddings"] = g.original_length;
  }
  root[rope_key(engine)] = rope;
  return root.dump();
}

std::string serve_command(OverrideEngine engine, const std::string& json, const std::filesystem::path& model_directory,
                          std::int64_t target_length) {
  const std::string model = shell_quoted(std::filesystem::absolute(model_directory).lexically_normal().string());
  if (engine == OverrideEngine::vllm) {
    return fmt::format("vllm serve {} \\\n  --max-model-len {} \\\n  --hf-overrides {}", model, target_length,
                       shell_quoted(json));
  }
  return fmt::format(
      "python3 -m sglang.launch_server --model-path {} \\\n  --context-length {} \\\n  --json-model-override-args {}",
      model, target_length, shell_quoted(json));
}

ExportTables read_override_json(OverrideEngine engine, const std::string& text, const std::string& where,
                                const ModelConfig& config) {
  const nlohmann::json parsed = parse_json_object(text, where);
  const JsonObject root(parsed, where);
  const char* const key = rope_key(engine);
  if (!root.has(key)) root.refuse(key, "an object");
  const JsonObject rope(root.value(key), where + ": " + key);
  const auto require = [&](const std::string& name) {
    const auto number = rope.find_number(name, 0.0);
    if (!number) rope.refuse(name, "a number greater than 0");
    return *number;
  };
  RopeGeometry geometry = config.rope;
  geometry.theta = require("rope_theta");
  geometry.original_length = rope.integer("original_max_position_embeddings", 1, kMaxContextTokens);
  ExportTables tables;
  tables.target_length = root.integer("max_position_embeddings", 1, kMaxContextTokens);
  tables.long_table = RopeTable::from_factors(geometry, rope.positive_numbers("long_factor", geometry.pairs()),
                                              require("long_mscale"), 0);
  tables.short_table = RopeTable::from_factors(geometry, rope.positive_numbers("short_factor", geometry.pairs()),
                                               require("short_mscale"), 0);
  tables.switches = tables.long_table.factors != tables.short_table.factors;
  return tables;
}

}  // namespace longrope::model
