#include "search/cli/export_choice.hpp"

#include <fmt/core.h>

#include <cmath>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/store_table.hpp"

namespace longrope::cli {
namespace {

/// The table to export and the length it was made for.
struct Choice {
  model::RopeTable table;
  std::int64_t target_length = 0;
};

std::int64_t target_of(const po::variables_map& values, const model::RopeSpec& spec, const model::ModelConfig& config) {
  if (values.count("target-length") != 0) {
    return parse_integer("target-length", values["target-length"].as<std::string>(), 2, std::int64_t{1} << 32);
  }
  if (const auto it = spec.options.find("target_length"); it != spec.options.end())
    return static_cast<std::int64_t>(it->second);
  if (const auto it = spec.options.find("factor"); it != spec.options.end()) {
    return std::llround(it->second * static_cast<double>(config.rope.original_length));
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
  const std::int64_t target_length = target_of(values, spec, config);
  return {search::resolve_rope_table(spec, config, target_length), target_length};
}

}  // namespace

po::options_description export_choice_options() {
  po::options_description options("Table");
  options.add_options()("store", po::value<std::string>(),
                        "store of a search, FILE[#STAGE[/ID]]; without an ID its best table")(
      "rope", po::value<std::string>(), "any rope spec instead of a store, as for evaluate")(
      "target-length", po::value<std::string>(), "context the table is for, in tokens (default: the store's)")(
      "mode", po::value<std::string>(),
      "static (one table at every length, read alike by all engines; the default) or switch (a short table up to the "
      "original length)")("short", po::value<std::string>(),
                          "rope spec of the short table (with --mode switch; default: none)");
  return options;
}

model::ExportTables choose_tables(const po::variables_map& values, const model::ModelConfig& config) {
  const bool has_short = values.count("short") != 0;
  const auto mode =
      values.count("mode") != 0 ? values["mode"].as<std::string>() : std::string(has_short ? "switch" : "static");
  check_choice("mode", mode, {"switch", "static"});
  if (mode == "static" && has_short) throw InputError("[usage] --short needs --mode switch");
  const Choice choice = choose(values, config);
  model::ExportTables tables{choice.table, choice.table, mode == "switch", choice.target_length};
  if (tables.switches) {
    const auto spec = model::RopeSpec::parse(has_short ? values["short"].as<std::string>() : "none");
    tables.short_table = search::resolve_rope_table(spec, config, config.rope.original_length);
  }
  return tables;
}

}  // namespace longrope::cli
