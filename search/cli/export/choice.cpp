#include "search/cli/export/choice.hpp"

#include <fmt/core.h>

#include <cmath>
#include <optional>

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

/// The pair of a repair that --store means, or the table that --table names; nothing where another choice is asked for.
std::optional<search::StoreTable> stored_tables(const po::variables_map& values) {
  const bool named = values.count("table") != 0;
  if (values.count("store") == 0) {
    if (named) throw InputError("[usage] --table needs --store");
    return std::nullopt;
  }
  const auto& file = values["store"].as<std::string>();
  if (named && file.find('#') != std::string::npos) {
    throw InputError("[usage] --table and --store FILE#STAGE exclude each other (give the FILE alone)");
  }
  if (named) return search::choose_table(file, values["table"].as<std::string>());
  if (file.find('#') != std::string::npos || values.count("target-length") != 0) return std::nullopt;
  return search::repaired_table(file);
}

}  // namespace

po::options_description export_choice_options() {
  po::options_description options("Table");
  options.add_options()("store", po::value<std::string>(),
                        "FILE[#STAGE[/ID]]: FILE alone stands for the pair of its last repair where there is one, else "
                        "for its best table")("table", po::value<std::string>(),
                                              "of the store: the table or pair of this name, as inspect lists them")(
      "rope", po::value<std::string>(), "any rope spec instead of a store, as for evaluate")(
      "target-length", po::value<std::string>(), "context the table is for, in tokens (default: the store's)")(
      "mode", po::value<std::string>(),
      "static (one table at every length, read alike by all engines; the default for one table) or switch (a short "
      "table up to the original length; the default for a pair)")(
      "short", po::value<std::string>(),
      "rope spec of the short table (with --mode switch; default: the pair's, else none)");
  return options;
}

model::ExportTables choose_tables(const po::variables_map& values, const model::ModelConfig& config) {
  const bool has_short = values.count("short") != 0;
  if (values.count("mode") != 0) check_choice("mode", values["mode"].as<std::string>(), {"switch", "static"});
  if (values.count("store") != 0 && values.count("rope") != 0) {
    throw InputError("[usage] --store and --rope exclude each other (give one)");
  }
  const std::optional<search::StoreTable> stored = stored_tables(values);
  const bool pair = stored && stored->has_short();
  const bool switches = values.count("mode") != 0 ? values["mode"].as<std::string>() == "switch" : has_short || pair;
  if (!switches && has_short) throw InputError("[usage] --short needs --mode switch");

  model::ExportTables tables;
  tables.switches = switches;
  if (stored) {
    tables.long_table = search::long_table(*stored, config);
    tables.target_length = values.count("target-length") != 0 ? target_of(values, {}, config) : stored->target_length;
  } else {
    const Choice choice = choose(values, config);
    tables.long_table = choice.table;
    tables.target_length = choice.target_length;
  }
  tables.short_table = tables.long_table;
  if (switches && pair && !has_short) {
    if (stored->switch_length != config.rope.original_length) {
      throw InputError(
          fmt::format("[store] the pair \"{}\" switches at {} tokens but engines switch at the original length, {} "
                      "(use --mode static)",
                      stored->name, stored->switch_length, config.rope.original_length));
    }
    tables.short_table = search::short_table(*stored, config);
  } else if (switches) {
    const auto spec = model::RopeSpec::parse(has_short ? values["short"].as<std::string>() : "none");
    tables.short_table = search::resolve_rope_table(spec, config, config.rope.original_length);
  }
  return tables;
}

}  // namespace longrope::cli
