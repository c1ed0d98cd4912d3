// The space of a stage, from a checkpoint, a target length and what the user declares.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/model_config.hpp"
#include "search/space.hpp"

namespace longrope::search {

/// A table that searched factors multiply, and the context it is for.
struct BaseTable {
  std::vector<double> factors;  ///< λ [d/2], absolute
  std::int64_t length = 0;      ///< tokens
};

struct SpaceOptions {
  Monotonicity monotonicity = Monotonicity::monotone;
  double monotone_tolerance = 0.01;
  FactorBounds bounds = FactorBounds::longrope;
  CriticalDimension critical = CriticalDimension::computed;
  std::int64_t critical_pair = 0;
  bool search_start_tokens = false;
  std::int32_t start_tokens = 0;
  std::optional<double> attention_factor;  ///< none: sqrt(1 + ln s / ln L0), s = target / L0
  bool search_attention_factor = false;
  std::string base;                     ///< rope spec whose factors the searched ones multiply; "": none
  std::optional<BaseTable> base_table;  ///< the same table where it is known already; `base` is then a name for it

  /// JSON members of everything that is not the default, appended to a stage's stored options.
  std::vector<std::pair<std::string, std::string>> stored() const;
};

/// Formulas at the relative scale. With a base, that scale is target / the length the base is for: a store's target
/// length, a formula's factor= or target_length=, else its largest factor times L0. Throws InputError: a base that
/// cannot be read or is for a longer context than the target; what Space::validate refuses.
Space make_space(const model::ModelConfig& config, std::int64_t target_length, const SpaceOptions& options = {});

/// The space of a table for lengths up to L0 on a model that was extended: absolute factors from 1 to max_factor, under
/// an attention factor that is `attention_factor` unless the options say otherwise (engines apply one to both tables).
/// Throws InputError unless max_factor is from 1.25, or for a base.
Space make_repair_space(const model::ModelConfig& config, double max_factor, double attention_factor,
                        const SpaceOptions& options = {});

}  // namespace longrope::search
