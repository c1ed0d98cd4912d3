#include "model/config_table.hpp"

#include <fmt/core.h>

#include "kernels/error.hpp"
#include "model/scaling_methods.hpp"

namespace longrope::model {
namespace {

double require(const std::optional<double>& value, const std::string& type, const char* key) {
  if (!value) throw InputError(fmt::format("[config.json] rope type {} needs the key {}", type, key));
  return *value;
}

/// The config's factor, or max_position_embeddings / L0.
double factor_or_ratio(const ModelConfig& config) {
  return config.rope_scaling.factor.value_or(static_cast<double>(config.max_position_embeddings) /
                                             static_cast<double>(config.rope.original_length));
}

RopeTable yarn_table(const ModelConfig& config) {
  const ConfigRopeScaling& s = config.rope_scaling;
  const double factor = factor_or_ratio(config);
  const YarnOptions options{s.beta_fast.value_or(32.0), s.beta_slow.value_or(1.0), s.truncate};
  double attention_factor = yarn_attention_factor(factor);
  if (s.attention_factor) {
    attention_factor = *s.attention_factor;
  } else if (s.mscale.value_or(0.0) != 0.0 && s.mscale_all_dim.value_or(0.0) != 0.0) {
    attention_factor = yarn_attention_factor(factor, *s.mscale) / yarn_attention_factor(factor, *s.mscale_all_dim);
  }
  return RopeTable::from_factors(config.rope, yarn_factors(config.rope, factor, options), attention_factor, 0);
}

}  // namespace

RopeTable config_rope_table(const ModelConfig& config, std::int64_t length) {
  const RopeGeometry& g = config.rope;
  const ConfigRopeScaling& s = config.rope_scaling;
  if (s.type == "default") return RopeTable::from_factors(g, pi_factors(g, 1.0), 1.0, 0);
  if (s.type == "linear") return RopeTable::from_factors(g, pi_factors(g, require(s.factor, s.type, "factor")), 1.0, 0);
  if (s.type == "dynamic") {
    const double scale = dynamic_ntk_scale(require(s.factor, s.type, "factor"), length, config.max_position_embeddings);
    return RopeTable::from_factors(g, ntk_factors(g, scale), 1.0, 0);
  }
  if (s.type == "yarn") return yarn_table(config);
  if (s.type == "llama3") {
    const Llama3Options options{require(s.low_freq_factor, s.type, "low_freq_factor"),
                                require(s.high_freq_factor, s.type, "high_freq_factor")};
    return RopeTable::from_factors(g, llama3_factors(g, require(s.factor, s.type, "factor"), options), 1.0, 0);
  }
  if (s.type == "longrope") {
    const double attention_factor =
        s.attention_factor.value_or(longrope_attention_factor(factor_or_ratio(config), g.original_length));
    return RopeTable::from_factors(g, length > g.original_length ? s.long_factor : s.short_factor, attention_factor, 0);
  }
  throw InputError(fmt::format("[config.json] rope type {} is not supported", s.type));
}

}  // namespace longrope::model
