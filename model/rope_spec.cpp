#include "model/rope_spec.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "kernels/error.hpp"
#include "model/config_table.hpp"
#include "model/factor_file.hpp"
#include "model/scaling_methods.hpp"

namespace longrope::model {
namespace {

using Keys = std::set<std::string>;

/// Keys each method takes.
const std::vector<std::pair<std::string, Keys>>& methods() {
  static const std::vector<std::pair<std::string, Keys>> kMethods = {
      {"config", {}},
      {"none", {}},
      {"pi", {"factor", "target_length", "original_length"}},
      {"ntk", {"factor", "target_length", "original_length"}},
      {"dynamic-ntk", {"factor", "target_length", "original_length"}},
      {"yarn", {"factor", "target_length", "original_length", "beta_fast", "beta_slow", "attention_factor"}},
      {"llama3", {"factor", "target_length", "original_length", "low_freq_factor", "high_freq_factor"}},
      {"longrope", {"factor", "target_length", "original_length", "attention_factor", "start_tokens"}},
      {"store", {"attention_factor", "start_tokens"}},
  };
  return kMethods;
}

const Keys* keys_of(const std::string& method) {
  for (const auto& [name, keys] : methods()) {
    if (name == method) return &keys;
  }
  return nullptr;
}

bool looks_like_options(const std::string& text) {
  const auto equals = text.find('=');
  return equals != std::string::npos && text.find('/') == std::string::npos;
}

std::map<std::string, double> parse_options(const std::string& spec, const std::string& method,
                                            const std::string& text) {
  const Keys& keys = *keys_of(method);
  std::map<std::string, double> options;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, comma - begin);
    begin = comma + 1;
    const std::size_t equals = item.find('=');
    const std::string key = item.substr(0, equals);
    if (equals == std::string::npos || keys.count(key) == 0) {
      throw InputError(fmt::format("[--rope {}] {} takes {} but got \"{}\"", spec, method,
                                   keys.empty() ? "no key=value" : fmt::format("the keys {}", fmt::join(keys, ", ")),
                                   item));
    }
    double value = 0.0;
    const char* last = item.data() + item.size();
    const auto [stop, code] = std::from_chars(item.data() + equals + 1, last, value);
    if (code != std::errc() || stop != last || !std::isfinite(value)) {
      throw InputError(
          fmt::format("[--rope {}] {} must be a finite number but got \"{}\"", spec, key, item.substr(equals + 1)));
    }
    if (!options.emplace(key, value).second) throw InputError(fmt::format("[--rope {}] {} is given twice", spec, key));
  }
  return options;
}

void check_options(const RopeSpec& spec) {
  for (const auto& [key, value] : spec.options) {
    const bool is_count = key == "target_length" || key == "original_length" || key == "start_tokens";
    if (is_count && (value != std::floor(value) || value > 1e15)) {
      throw InputError(
          fmt::format("[--rope {}] {} must be a whole number of tokens but got {}", spec.text, key, value));
    }
    const double least = key == "factor" ? 1.0 : key == "original_length" ? 2.0 : key == "start_tokens" ? 0.0 : 1e-9;
    if (!(value >= least)) {
      throw InputError(fmt::format("[--rope {}] {} must be at least {} but got {}", spec.text, key, least, value));
    }
  }
  const auto fast = spec.options.find("beta_fast");
  const auto slow = spec.options.find("beta_slow");
  if (spec.method == "yarn") {
    const double f = fast == spec.options.end() ? 32.0 : fast->second;
    const double s = slow == spec.options.end() ? 1.0 : slow->second;
    if (!(f > s))
      throw InputError(fmt::format("[--rope {}] beta_fast must exceed beta_slow but got {} and {}", spec.text, f, s));
  }
  if (spec.method == "llama3") {
    const auto low = spec.options.find("low_freq_factor");
    const auto high = spec.options.find("high_freq_factor");
    const double l = low == spec.options.end() ? 1.0 : low->second;
    const double h = high == spec.options.end() ? 4.0 : high->second;
    if (!(h > l)) {
      throw InputError(
          fmt::format("[--rope {}] high_freq_factor must exceed low_freq_factor but got {} and {}", spec.text, h, l));
    }
  }
}

double option_or(const RopeSpec& spec, const std::string& key, double fallback) {
  const auto it = spec.options.find(key);
  return it == spec.options.end() ? fallback : it->second;
}

RopeGeometry spec_geometry(const RopeSpec& spec, RopeGeometry geometry) {
  if (const auto it = spec.options.find("original_length"); it != spec.options.end()) {
    geometry.original_length = static_cast<std::int64_t>(it->second);
  }
  return geometry;
}

RopeTable longrope_table(const RopeSpec& spec, const RopeGeometry& geometry, double scale) {
  const FactorFile file = read_factor_file(spec.argument);
  if (static_cast<std::int64_t>(file.factors.size()) != geometry.pairs()) {
    throw InputError(fmt::format("[{}] must hold {} factors for this model (rotary_dim {} / 2) but got {}",
                                 spec.argument, geometry.pairs(), geometry.rotary_dim, file.factors.size()));
  }
  const double attention_factor =
      option_or(spec, "attention_factor",
                file.attention_factor.value_or(longrope_attention_factor(scale, geometry.original_length)));
  const auto start_tokens =
      static_cast<std::int64_t>(option_or(spec, "start_tokens", static_cast<double>(file.start_tokens.value_or(0))));
  return RopeTable::from_factors(geometry, file.factors, attention_factor, start_tokens);
}

}  // namespace

std::vector<std::string> rope_method_names() {
  std::vector<std::string> names;
  for (const auto& entry : methods()) names.push_back(entry.first);
  return names;
}

RopeSpec RopeSpec::parse(const std::string& text) {
  RopeSpec spec;
  spec.text = text;
  const std::size_t colon = text.find(':');
  spec.method = text.substr(0, colon);
  if (keys_of(spec.method) == nullptr) {
    throw InputError(
        fmt::format("[--rope] must be one of {} but got \"{}\"", fmt::join(rope_method_names(), ", "), spec.method));
  }
  const bool takes_file = spec.method == "longrope" || spec.method == "store";
  std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (takes_file) {
    const std::size_t last = rest.rfind(':');
    if (last != std::string::npos && looks_like_options(rest.substr(last + 1))) {
      spec.options = parse_options(text, spec.method, rest.substr(last + 1));
      rest.resize(last);
    }
    if (rest.empty())
      throw InputError(fmt::format("[--rope {}] {} needs a file, as in {}:FILE", text, spec.method, spec.method));
    spec.argument = rest;
  } else if (colon != std::string::npos) {
    spec.options = parse_options(text, spec.method, rest);
  }
  check_options(spec);
  return spec;
}

double spec_scale(const RopeSpec& spec, const RopeGeometry& geometry, std::int64_t length) {
  if (const auto it = spec.options.find("factor"); it != spec.options.end()) return it->second;
  const double target = option_or(spec, "target_length", static_cast<double>(length));
  return std::max(1.0, target / static_cast<double>(spec_geometry(spec, geometry).original_length));
}

RopeTable make_rope_table(const RopeSpec& spec, const ModelConfig& config, std::int64_t length) {
  if (spec.method == "config") return config_rope_table(config, length);
  const RopeGeometry g = spec_geometry(spec, config.rope);
  const double s = spec_scale(spec, config.rope, length);
  if (spec.method == "none") return RopeTable::from_factors(g, pi_factors(g, 1.0), 1.0, 0);
  if (spec.method == "pi") return RopeTable::from_factors(g, pi_factors(g, s), 1.0, 0);
  if (spec.method == "ntk") return RopeTable::from_factors(g, ntk_factors(g, s), 1.0, 0);
  if (spec.method == "dynamic-ntk") {
    const auto n = static_cast<std::int64_t>(option_or(spec, "target_length", static_cast<double>(length)));
    const double scale = dynamic_ntk_scale(option_or(spec, "factor", 1.0), n, g.original_length);
    return RopeTable::from_factors(g, ntk_factors(g, scale), 1.0, 0);
  }
  if (spec.method == "yarn") {
    const YarnOptions options{option_or(spec, "beta_fast", 32.0), option_or(spec, "beta_slow", 1.0), true};
    const double attention_factor = option_or(spec, "attention_factor", yarn_attention_factor(s));
    return RopeTable::from_factors(g, yarn_factors(g, s, options), attention_factor, 0);
  }
  if (spec.method == "llama3") {
    const Llama3Options options{option_or(spec, "low_freq_factor", 1.0), option_or(spec, "high_freq_factor", 4.0)};
    return RopeTable::from_factors(g, llama3_factors(g, s, options), 1.0, 0);
  }
  if (spec.method == "longrope") return longrope_table(spec, g, s);
  throw InputError(fmt::format("[--rope {}] a store's table is resolved by the caller", spec.text));
}

}  // namespace longrope::model
