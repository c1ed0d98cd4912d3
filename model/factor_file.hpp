// Rescale factors from a file: CSV (one factor per line), a JSON list, a JSON object, or a Hugging Face config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace longrope::model {

struct FactorFile {
  std::vector<double> factors;
  std::optional<double> attention_factor;
  std::optional<std::int64_t> start_tokens;
};

/// Objects are read from, in this order: "best" (what `search --json` prints), rope_parameters or rope_scaling with
/// long_factor (a config.json), or the object itself with "factors" or "long_factor". Throws InputError naming the file
/// and, for CSV, the line.
FactorFile read_factor_file(const std::filesystem::path& file);

}  // namespace longrope::model
