// `longrope export`: a table into an engine's format.
#include <fmt/core.h>

#include <cmath>
#include <iostream>

#include "kernels/error.hpp"
#include "model/atomic_file.hpp"
#include "model/hf_export.hpp"
#include "model/model_config.hpp"
#include "model/rope_spec.hpp"
#include "search/cli/command.hpp"
#include "search/store_table.hpp"

namespace longrope::cli {
namespace {

/// The table to export and the length it was made for.
struct Choice {
  model::RopeTable table;
  std::int64_t target_length = 0;
};

std::int64_t target_of(const po::variables_map& values, const model::RopeSpec* spec, const model::ModelConfig& config) {
  if (values.count("target-length") != 0) {
    return parse_integer("target-length", values["target-length"].as<std::string>(), 2, std::int64_t{1} << 32);
  }
  if (spec != nullptr) {
    if (const auto it = spec->options.find("target_length"); it != spec->options.end())
      return static_cast<std::int64_t>(it->second);
    if (const auto it = spec->options.find("factor"); it != spec->options.end()) {
      return std::llround(it->second * static_cast<double>(config.rope.original_length));
    }
  }
  throw InputError("[usage] --target-length is missing: the context the table is for, in tokens");
}

Choice choose(const po::variables_map& values, const model::ModelConfig& config) {
  const bool has_store = values.count("store") != 0;
  if (has_store == (values.count("rope") != 0)) {
    throw InputError(has_store ? "[usage] --store and --rope exclude each other (give one)"
                               : "[usage] --store or --rope is missing (see --help)");
  }
  const std::string text =
      has_store ? fmt::format("store:{}", values["store"].as<std::string>()) : values["rope"].as<std::string>();
  const model::RopeSpec spec = model::RopeSpec::parse(text);
  if (spec.method == "store" && values.count("target-length") == 0) {
    const search::StoredChoice stored = search::choose_from_store(spec.argument);
    return {search::resolve_rope_table(spec, config, stored.target_length), stored.target_length};
  }
  const std::int64_t target_length = target_of(values, &spec, config);
  return {search::resolve_rope_table(spec, config, target_length), target_length};
}

void export_csv(const std::string& out, const model::RopeTable& table) {
  std::string text;
  for (const double factor : table.factors) text += fmt::format("{}\n", factor);  // shortest that reads back exactly
  model::write_new_file(out, text);
  if (table.start_tokens > 0) {
    fmt::print(stderr, "longrope: [export csv] warning: the file holds the factors alone, not start_tokens={}\n",
               table.start_tokens);
  }
}

void export_hf(const po::variables_map& values, const std::string& directory, const std::string& out,
               const Choice& choice, const model::ModelConfig& config) {
  const auto weights = values["weights"].as<std::string>();
  check_choice("weights", weights, {"link", "copy", "none"});
  const bool has_short = values.count("short") != 0;
  const auto mode =
      values.count("mode") != 0 ? values["mode"].as<std::string>() : std::string(has_short ? "switch" : "static");
  check_choice("mode", mode, {"switch", "static"});
  if (mode == "static" && has_short) throw InputError("[usage] --short needs --mode switch");
  model::HfExportOptions options;
  options.model_directory = directory;
  options.out = out;
  options.long_table = choice.table;
  options.target_length = choice.target_length;
  options.weights = weights == "link"   ? model::WeightsMode::link
                    : weights == "copy" ? model::WeightsMode::copy
                                        : model::WeightsMode::none;
  options.short_table = choice.table;
  if (mode == "switch") {
    const auto spec = model::RopeSpec::parse(has_short ? values["short"].as<std::string>() : "none");
    options.short_table = search::resolve_rope_table(spec, config, config.rope.original_length);
  }
  for (const std::string& warning : model::export_hf(options))
    fmt::print(stderr, "longrope: [export hf] warning: {}\n", warning);
}

}  // namespace

int run_export(const std::vector<std::string>& arguments) {
  po::options_description options("Options");
  options.add_options()("to", po::value<std::string>(),
                        "hf (a model directory for transformers v4 and v5, vLLM, SGLang) or csv (one factor per line)")(
      "model", po::value<std::string>(), "checkpoint directory the table is for")(
      "out", po::value<std::string>(), "what to write: a directory (hf) or a file (csv); must not exist")(
      "store", po::value<std::string>(), "store of a search, FILE[#STAGE[/ID]]; without an ID its best table")(
      "rope", po::value<std::string>(), "any rope spec instead of a store, as for evaluate")(
      "target-length", po::value<std::string>(), "context the table is for, in tokens (default: the store's)")(
      "mode", po::value<std::string>(),
      "static (one table at every length, read alike by all engines; the default) or switch (a "
      "short table up to the original length)")("short", po::value<std::string>(),
                                                "rope spec of the short table (with --mode switch; default: none)")(
      "weights", po::value<std::string>()->default_value("link"), "link, copy or none");
  po::variables_map values;
  if (!parse_options("Usage: longrope export --to FORMAT --model DIR --out PATH (--store FILE | --rope SPEC) [options]",
                     options, arguments, values)) {
    return kDone;
  }
  const std::string format = require_option(values, "to");
  check_choice("to", format, {"hf", "csv"});
  const std::string directory = require_option(values, "model");
  const std::string out = require_option(values, "out");
  const model::ModelConfig config = model::read_model_config(directory);
  const Choice choice = choose(values, config);
  if (format == "csv") {
    export_csv(out, choice.table);
  } else {
    export_hf(values, directory, out, choice, config);
  }
  fmt::print("{}\n", out);
  return kDone;
}

}  // namespace longrope::cli
