// Tables as the JSON that vLLM (--hf-overrides) and SGLang (--json-model-override-args) put over a checkpoint's config.
// Both replace the whole rope dictionary with what they are given, so everything is in it, rope_theta first: vLLM's
// config/model.py (dict overrides), model_executor/layers/rotary_embedding; SGLang's srt/layers/rotary_embedding.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/export_tables.hpp"
#include "model/model_config.hpp"

namespace longrope::model {

enum class OverrideEngine : std::uint8_t { vllm, sglang };

/// Throws InputError for what the engine cannot express (start_tokens, a target length below the original one); returns
/// warnings, one line each.
std::vector<std::string> check_overrides(OverrideEngine engine, const ExportTables& tables, const ModelConfig& config);

/// One JSON object on one line.
std::string override_json(OverrideEngine engine, const ExportTables& tables, const ModelConfig& config);

/// The command that serves the checkpoint with these overrides, on several lines, quoted for a POSIX shell.
std::string serve_command(OverrideEngine engine, const std::string& json, const std::filesystem::path& model_directory,
                          std::int64_t target_length);

/// `text` as one word of a POSIX shell.
std::string shell_quoted(const std::string& text);

/// What override_json wrote, read back. `where` begins messages. Throws InputError.
ExportTables read_override_json(OverrideEngine engine, const std::string& text, const std::string& where,
                                const ModelConfig& config);

}  // namespace longrope::model
