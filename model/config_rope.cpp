#include "model/config_rope.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/error.hpp"

namespace longrope::model {

namespace {

using nlohmann::json;

constexpr double kAnyNumber = std::numeric_limits<double>::lowest();

/// rope_parameters may map layer types to parameters: then all must agree, and theirs are returned.
const json& flatten_layer_types(const JsonObject& config, const char* key) {
  const json& parameters = config.value(key);
  if (!parameters.is_object()) config.refuse(key, "an object or null");
  const bool nested = !parameters.empty() && std::all_of(parameters.begin(), parameters.end(),
                                                         [](const json& value) { return value.is_object(); });
  if (!nested) return parameters;
  for (const json& value : parameters) {
    if (value != parameters.front()) {
      throw InputError(
          fmt::format("[{}: {}] must be the same for all layer types but got different ones "
                      "(models with several rotary embeddings are not supported)",
                      config.where(), key));
    }
  }
  return parameters.front();
}

/// The scaling's type under its present name. Throws InputError for a type we do not know.
std::string read_type(const JsonObject& scaling, const std::string& model_type, bool type_required) {
  static constexpr std::array<std::string_view, 6> kTypes{"default", "linear", "dynamic", "yarn", "llama3", "longrope"};
  const std::string key = scaling.has("rope_type") || !scaling.has("type") ? "rope_type" : "type";
  const auto type = scaling.find_string(key);
  const std::string rule = fmt::format("one of {}", fmt::join(kTypes, ", "));
  if (!type) {
    if (type_required) scaling.refuse(key, rule);
    return "default";
  }
  if (*type == "su") return "longrope";
  // Phi-3's first config files called their tables "yarn" (transformers, Phi3Config._rope_scaling_adjustment).
  if (*type == "yarn" && model_type == "phi3" && scaling.has("long_factor")) return "longrope";
  if (std::find(kTypes.begin(), kTypes.end(), *type) == kTypes.end()) scaling.refuse(key, rule);
  return *type;
}

ConfigRopeScaling read_scaling(const JsonObject& scaling, const std::string& type, std::int64_t pairs) {
  ConfigRopeScaling result;
  result.type = type;
  if (type == "default") return result;
  result.factor = scaling.find_number("factor", 0.0);
  if (!result.factor && type != "longrope") {
    scaling.refuse("factor", "a finite number greater than 0", fmt::format("rope type {} requires it", type));
  }
  result.attention_factor = scaling.find_number("attention_factor", 0.0);
  if (type == "yarn") {
    result.beta_fast = scaling.find_number("beta_fast", 0.0);
    result.beta_slow = scaling.find_number("beta_slow", 0.0);
    result.mscale = scaling.find_number("mscale", kAnyNumber);
    result.mscale_all_dim = scaling.find_number("mscale_all_dim", kAnyNumber);
    result.truncate = scaling.find_boolean("truncate").value_or(true);
  } else if (type == "llama3") {
    result.low_freq_factor = scaling.find_number("low_freq_factor", 0.0);
    if (!result.low_freq_factor) scaling.refuse("low_freq_factor", "a finite number greater than 0");
    result.high_freq_factor = scaling.find_number("high_freq_factor", *result.low_freq_factor);
    if (!result.high_freq_factor) scaling.refuse("high_freq_factor", "a finite number greater than low_freq_factor");
  } else if (type == "longrope") {
    result.short_factor = scaling.positive_numbers("short_factor", pairs);
    result.long_factor = scaling.positive_numbers("long_factor", pairs);
  }
  return result;
}

/// head_dim x partial_rotary_factor. Only Phi-3 has the factor: transformers' other four rotate the whole head whatever
/// the config says (modeling_rope_utils, compute_default_rope_parameters of each model).
std::int64_t read_rotary_dim(const JsonObject& config, const JsonObject& scaling, const ModelConfig& result) {
  const JsonObject& partial = scaling.has("partial_rotary_factor") ? scaling : config;
  const double written = partial.find_number("partial_rotary_factor", 0.0).value_or(1.0);
  if (!(written <= 1.0)) partial.refuse("partial_rotary_factor", "at most 1");
  const double fraction = result.model_type == "phi3" ? written : 1.0;
  const auto rotary_dim = static_cast<std::int64_t>(static_cast<double>(result.head_dim) * fraction);  // as int()
  if (rotary_dim < 2 || rotary_dim % 2 != 0) {
    throw InputError(
        fmt::format("[{}] must give an even number of rotary dimensions, at least 2, but got {} "
                    "(head_dim {} x partial_rotary_factor {})",
                    config.where(), rotary_dim, result.head_dim, fraction));
  }
  return rotary_dim;
}

}  // namespace

void read_rope(const JsonObject& config, ModelConfig& result) {
  static const json kNothing = json::object();
  const char* const key = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const JsonObject scaling(config.has(key) ? flatten_layer_types(config, key) : kNothing, config.where() + ": " + key);

  const auto theta = scaling.find_number("rope_theta", 1.0);
  result.rope.theta = theta ? *theta : config.find_number("rope_theta", 1.0).value_or(10000.0);

  result.rope.rotary_dim = read_rotary_dim(config, scaling, result);

  const char* const original = "original_max_position_embeddings";
  const auto outer = config.find_integer(original, 1, kMaxContextTokens);
  const auto inner = scaling.find_integer(original, 1, kMaxContextTokens);
  result.rope.original_length = outer ? *outer : inner.value_or(result.max_position_embeddings);

  // transformers v5 reads rope_parameters without a type as "default"; a v4 rope_scaling always names one.
  const bool type_required = config.has(key) && std::string_view(key) == "rope_scaling";
  result.rope_scaling =
      read_scaling(scaling, read_type(scaling, result.model_type, type_required), result.rope.pairs());
}

}  // namespace longrope::model
