// What --rope takes: NAME[:ARG][:key=value,...], for example yarn:beta_fast=16 or longrope:table.csv:start_tokens=4.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/model_config.hpp"
#include "model/rope_table.hpp"

namespace longrope::model {

struct RopeSpec {
  std::string text;      ///< as given
  std::string method;    ///< config, none, pi, ntk, dynamic-ntk, yarn, llama3, longrope or store
  std::string argument;  ///< longrope: the file; store: FILE[#STAGE[/ID]]
  std::map<std::string, double> options;

  /// Throws InputError: unknown method (listing them), unknown key for the method, value that is not a finite number.
  static RopeSpec parse(const std::string& text);
};

/// The method names, for --help.
std::vector<std::string> rope_method_names();

/// s of a spec at a length: factor=, or target_length=/L0, or length/L0; not below 1. L0 is original_length= if given.
double spec_scale(const RopeSpec& spec, const RopeGeometry& geometry, std::int64_t length);

/// The table of a spec for sequences of `length` tokens. Throws InputError; method "store" is resolved a layer above
/// (search/store_table.hpp).
RopeTable make_rope_table(const RopeSpec& spec, const ModelConfig& config, std::int64_t length);

}  // namespace longrope::model
