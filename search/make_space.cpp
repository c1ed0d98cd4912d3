#include "search/make_space.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "model/rope_table.hpp"
#include "model/scaling_methods.hpp"
#include "search/store_table.hpp"

namespace longrope::search {
namespace {

constexpr double kUpperBound = 1.25;  ///< Space::upper over s, FactorBounds::longrope

/// What the options say whatever the scale.
Space declared_space(const model::ModelConfig& config, const SpaceOptions& options) {
  Space space;
  space.geometry = config.rope;
  space.monotonicity = options.monotonicity;
  space.monotone_tolerance = options.monotone_tolerance;
  space.bounds = options.bounds;
  space.critical = options.critical;
  space.critical_pair = options.critical_pair;
  space.search_attention_factor = options.search_attention_factor;
  space.search_start_tokens = options.search_start_tokens;
  space.start_tokens = options.search_start_tokens ? 0 : options.start_tokens;
  if (config.model_type == "mistral") {  // what microsoft/LongRoPE's search.py does for this model type
    space.release_beta_fast = 128.0;
    space.release_beta_slow = 2.0;
  }
  return space;
}

/// The formulas at the space's scale.
void complete_space(Space& space) {
  space.pi_factors = model::pi_factors(space.geometry, space.scale);
  space.ntk_factors = model::ntk_factors(space.geometry, space.scale);
  space.yarn_factors = model::yarn_factors(space.geometry, space.scale);
  space.validate();
}

/// The context that a base table extends to, in tokens.
double base_length(const model::RopeSpec& spec, const model::RopeTable& table, const model::ModelConfig& config,
                   std::int64_t target_length) {
  const auto original = static_cast<double>(config.rope.original_length);
  if (spec.method == "store") return static_cast<double>(choose_from_store(spec.argument).target_length);
  if (spec.method != "longrope" && spec.method != "config" && spec.method != "none")
    return original * model::spec_scale(spec, config.rope, target_length);
  return original * *std::max_element(table.factors.begin(), table.factors.end());
}

}  // namespace

std::vector<std::pair<std::string, std::string>> SpaceOptions::stored() const {
  std::vector<std::pair<std::string, std::string>> members;
  if (monotonicity == Monotonicity::tolerant)
    members.emplace_back("factors", fmt::format("tolerant:{}", monotone_tolerance));
  if (monotonicity == Monotonicity::free) members.emplace_back("factors", "free");
  if (bounds == FactorBounds::longrope2) members.emplace_back("bounds", "longrope2");
  if (critical == CriticalDimension::searched) members.emplace_back("critical_dimension", "searched");
  if (critical == CriticalDimension::fixed)
    members.emplace_back("critical_dimension", fmt::format("{}", critical_pair));
  if (search_attention_factor) members.emplace_back("attention_factor_search", "on");
  return members;
}

Space make_space(const model::ModelConfig& config, std::int64_t target_length, const SpaceOptions& options) {
  Space space = declared_space(config, options);
  const double absolute_scale =
      std::max(1.0, static_cast<double>(target_length) / static_cast<double>(config.rope.original_length));
  space.scale = absolute_scale;
  if (options.base_table) {
    const BaseTable& base = *options.base_table;
    if (!(base.length >= 1 && base.length <= target_length)) {
      throw InputError(fmt::format("[base] must be for at most the target length {} but {} is for {} tokens",
                                   target_length, options.base, base.length));
    }
    space.base_factors = base.factors;
    space.scale = static_cast<double>(target_length) / static_cast<double>(base.length);
  } else if (!options.base.empty()) {
    const model::RopeSpec spec = model::RopeSpec::parse(options.base);
    const model::RopeTable table = resolve_rope_table(spec, config, target_length);
    const double length = base_length(spec, table, config, target_length);
    if (!(length <= static_cast<double>(target_length))) {
      throw InputError(fmt::format("[--base] must be for at most the target length {} but {} is for {:.0f} tokens",
                                   target_length, options.base, length));
    }
    space.base_factors = table.factors;
    space.scale = static_cast<double>(target_length) / std::max(length, 1.0);
  }
  space.attention_factor =
      options.attention_factor.value_or(model::longrope_attention_factor(absolute_scale, config.rope.original_length));
  complete_space(space);
  return space;
}

Space make_repair_space(const model::ModelConfig& config, double max_factor, double attention_factor,
                        const SpaceOptions& options) {
  if (!options.base.empty()) throw InputError("[--base] a repair searches absolute factors and takes none");
  if (!(max_factor >= kUpperBound))
    throw InputError(fmt::format("[--max-factor] must be at least {} but got {}", kUpperBound, max_factor));
  Space space = declared_space(config, options);
  space.scale = max_factor / kUpperBound;
  space.attention_factor = options.attention_factor.value_or(attention_factor);
  complete_space(space);
  return space;
}

}  // namespace longrope::search
