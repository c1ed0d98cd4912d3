// The table a checkpoint's own config.json asks for, as transformers computes it (modeling_rope_utils.py).
#pragma once

#include <cstdint>

#include "model/model_config.hpp"
#include "model/rope_table.hpp"

namespace longrope::model {

/// The table for sequences of `length` tokens. longrope: long_factor if length > L0, else short_factor. dynamic: at
/// n = length. Throws InputError when the config lacks what its type needs.
RopeTable config_rope_table(const ModelConfig& config, std::int64_t length);

}  // namespace longrope::model
