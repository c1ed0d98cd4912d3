// A table as a Hugging Face model directory: one config.json that transformers v4 and v5, vLLM, SGLang and TensorRT-LLM
// read alike (rope_scaling of type longrope; Phi-3's three-key form), beside links to or copies of the weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/export_tables.hpp"
#include "model/model_config.hpp"

namespace longrope::model {

enum class WeightsMode : std::uint8_t { link, copy, none };

/// Who is to read the directory: TensorRT-LLM takes no attention factor from it.
enum class HfReader : std::uint8_t { transformers, trtllm };

struct HfExportOptions {
  std::filesystem::path model_directory;
  std::filesystem::path out;  ///< must not exist
  ExportTables tables;
  WeightsMode weights = WeightsMode::link;
  HfReader reader = HfReader::transformers;
  std::string readme;  ///< README.md's text
};

/// Whether the format can carry these tables. Returns warnings, one line each: what engines will do otherwise than they
/// say. Throws InputError for what cannot be expressed: start_tokens; on Phi-3 and for TensorRT-LLM an attention factor
/// other than sqrt(1 + ln s / ln L0); a target length below the original one.
std::vector<std::string> check_hf_export(const HfExportOptions& options, const ModelConfig& config);

/// Writes the directory under a temporary name and renames it. Precondition: check_hf_export passed. Throws InputError
/// if `out` exists, RuntimeError if the disk fails.
void write_hf_export(const HfExportOptions& options, const ModelConfig& config);

/// start_tokens and target length, which no engine's format can carry or take otherwise. `format` is the --to name,
/// `engine` who cannot express it. Throws InputError.
void check_common_limits(const ExportTables& tables, const ModelConfig& config, const std::string& format,
                         const std::string& engine);
/// The warning about a sliding window shorter than the target length, if that is so.
std::vector<std::string> sliding_window_warnings(const ExportTables& tables, const ModelConfig& config);

}  // namespace longrope::model
