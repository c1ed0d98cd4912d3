// The rotary part of config.json: transformers v4 keys (rope_theta, rope_scaling) and v5's rope_parameters.
// Names as in transformers' modeling_rope_utils.py. Internal to model/.
#pragma once

#include "model/json_input.hpp"
#include "model/model_config.hpp"

namespace longrope::model {

/// Fills result.rope and result.rope_scaling; reads result.model_type, head_dim and max_position_embeddings, which must
/// be set. Throws InputError naming the key.
void read_rope(const JsonObject& config, ModelConfig& result);

}  // namespace longrope::model
