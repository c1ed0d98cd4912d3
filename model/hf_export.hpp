// A table as a Hugging Face model directory: one config.json that transformers v4 and v5, vLLM, SGLang and TensorRT-LLM
// read alike (rope_scaling of type longrope; Phi-3's three-key form), beside links to or copies of the weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/rope_table.hpp"

namespace longrope::model {

enum class WeightsMode : std::uint8_t { link, copy, none };

struct HfExportOptions {
  std::filesystem::path model_directory;
  std::filesystem::path out;       ///< must not exist
  RopeTable long_table;            ///< beyond original_length
  RopeTable short_table;           ///< up to it; the long table in a static export
  std::int64_t target_length = 0;  ///< becomes max_position_embeddings
  WeightsMode weights = WeightsMode::link;
};

/// Writes the directory under a temporary name and renames it. Returns warnings, one line each: what engines will do
/// otherwise than this table says. Throws InputError for what the format cannot express (start_tokens; on Phi-3 an
/// attention factor other than sqrt(1 + ln s / ln L0)) or an `out` that exists, RuntimeError if the disk fails.
std::vector<std::string> export_hf(const HfExportOptions& options);

}  // namespace longrope::model
